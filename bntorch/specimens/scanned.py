"""Layers in a `ModuleList` against layers that are scanned, with a rematerialized one and a mapped one."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

WIDTH, LAYERS = 6, 4


class TorchLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.linear(self.norm(x)))


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TorchLayer() for _ in range(LAYERS))
        self.again, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(F.relu(self.again(x))).movedim(-1, 1)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
