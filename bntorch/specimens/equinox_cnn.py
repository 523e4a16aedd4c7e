"""An Equinox CNN with its state, written for one sample; padding and an average that counts it or not."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pool, self.head = nn.AvgPool2d(3, 2, padding=1), nn.Linear(4 * 9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(F.elu(self.norm(self.conv(x)))).flatten(1))


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
