"""Branches of a convolution and another layer, each in a convention of its own; PyTorch, and NNX."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch


class _Raise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 100


# By fault: the layer.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "statistics_never_used": lambda: nn.BatchNorm2d(4),
    "statistics_always_used": lambda: nn.BatchNorm2d(4),
    "per_shard_statistics": lambda: nn.BatchNorm2d(4),
    "debiased_statistics": lambda: nn.BatchNorm2d(4),
    "averaged_statistics": lambda: nn.BatchNorm2d(4),
    "fast_variance": lambda: nn.Sequential(_Raise(), nn.BatchNorm2d(4)),
    "norm_epsilon batch": lambda: nn.BatchNorm2d(4),
    "norm_epsilon group": lambda: nn.GroupNorm(2, 4),
    "norm_epsilon layer": lambda: nn.GroupNorm(1, 4),
    "norm_epsilon instance": lambda: nn.InstanceNorm2d(4, affine=True),
    "same_padding": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1),
    "transpose_padding": lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1),
    "kernel_axes": lambda: nn.Conv2d(4, 4, 3),
    "flipped_kernel": lambda: nn.Conv2d(4, 4, 3),
    "missing_bias": lambda: nn.Conv2d(4, 4, 3),
}


class TorchBranch(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv, self.layer, self.head = nn.Conv2d(3, 4, 3, padding=1), layer, nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.softplus(self.layer(self.conv(x))).mean((2, 3)))


class TorchNet(nn.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        layers = [LAYERS[fault]] if fault else LAYERS.values()
        self.branches = nn.ModuleList(TorchBranch(layer()) for layer in layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(fault), loss=F.cross_entropy)
