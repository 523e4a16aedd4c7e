"""A small CNN: convolutions, batch norm, max-pool, flatten, a linear head; PyTorch, and linen with channels last."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

from .optimizers import OPTIMIZERS


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.head = nn.Linear(8 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1, momentum=0.9)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy, optimizer=OPTIMIZERS.get(fault, sgd))
