"""An LSTM step by step, its cell called for each word; PyTorch, and a plain function that scans."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

WORDS, WIDTH, STATE = 9, 5, 6


class TorchNet(nn.Module):
    """The cell gives its state, and uses it within as well."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.cell, self.out = nn.Embedding(WORDS, WIDTH), nn.LSTMCell(WIDTH, STATE), nn.Linear(STATE, WORDS)
        self.h0 = nn.Parameter(torch.randn(STATE))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.emb(ids)
        h, seen = self.h0.expand(len(x), -1), []
        c = torch.zeros_like(h)
        for step in range(x.shape[1]):
            h, c = self.cell(x[:, step], (h, c))
            seen.append(h)
        return self.out(torch.stack(seen, 1)).movedim(-1, 1)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
