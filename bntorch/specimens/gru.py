"""A GRU whose output is read by the table that embeds its words; PyTorch's, and a plain function that scans."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

WORDS, WIDTH = 9, 6


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.gru = nn.Embedding(WORDS, WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, WORDS, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.gru(self.table(ids))
        return self.out(outputs).movedim(-1, 1)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
