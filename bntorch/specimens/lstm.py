"""An LSTM over embedded words: PyTorch's, with its two biases, and linen's cell, scanned."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

WORDS, WIDTH, STATE = 13, 5, 6


class TorchNet(nn.Module):
    def __init__(self, padding: int | None) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH, padding_idx=padding)
        self.lstm = nn.LSTM(WIDTH, STATE, batch_first=True)
        self.head = nn.Linear(STATE, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.embed(ids))
        return self.head(outputs[:, -1])


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(3 if fault == "embedding_padding" else None), loss=F.cross_entropy)
