"""Branches of a convolution and a function of images, each in a convention of its own; PyTorch, and NNX."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

SIZE = 8  # of the images
GAP = torch.arange(SIZE)[:, None] - torch.arange(SIZE)
WINDOW = torch.zeros(SIZE, SIZE).masked_fill((GAP < 0) | (GAP >= 3), -torch.inf)
FIRST_THREE = torch.arange(SIZE) < 3


def _resize(size: int, **options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: F.interpolate(x, size=(size, size), mode="bilinear", **options)


def _middle(x: torch.Tensor) -> torch.Tensor:
    return x - x.flatten(2).median(-1).values[:, :, None, None]


def _tied(x: torch.Tensor) -> torch.Tensor:
    """Two rows are 0, and the others less."""
    return torch.where(torch.arange(SIZE)[:, None] < 2, x - x.detach(), x - 9).flatten(2)


# By fault: the function of (samples, channels, height, width) before what is left is averaged.
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu_form": F.gelu,
    "activation_slope": lambda x: F.elu(x, 0.5),
    "other_activation": F.relu,
    "missing_module": F.silu,
    "softmax_axis": lambda x: 4 * x.softmax(1),
    "attention_scale": lambda x: 4 * (x / 2).softmax(1),
    "standard_deviation": lambda x: x.std((2, 3), keepdim=True),
    "pool_kind": lambda x: F.max_pool2d(x, 2),
    "pool_padding": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "pool_padding maximum": lambda x: F.max_pool2d(x - 3, 3, 2, 1),
    "resize_kernel": _resize(7),
    "align_corners": _resize(7, align_corners=True),
    "resize_antialias": _resize(3),
    "missing_residual": lambda x: x + F.silu(x),
    "stopped_gradient": lambda x: x * torch.sigmoid(x.mean(1, keepdim=True)),
    "missing_scale": lambda x: x * 0.5,
    "extra_scale": lambda x: x.amax((2, 3), keepdim=True),
    "mask_polarity": lambda x: x.masked_fill(torch.arange(SIZE) < 3, 0.0),
    "mask_constant": lambda x: x.masked_fill(torch.arange(SIZE) < 3, -1e4) / 1e4,
    "sliding_window": lambda x: x * (x + WINDOW.to(x.dtype)).softmax(-1),
    "relu_at_zero": lambda x: x + F.relu(x - torch.where(FIRST_THREE, x.detach(), 0.0)),
    "median_rule": _middle,
    "tie_rule": lambda x: _tied(x).amax(-1)[:, :, None, None],
    "concatenation_order": lambda x: torch.cat([F.silu(x[:, :2]), torch.tanh(x[:, 2:])], 1),
    "qkv_order": lambda x: torch.cat([F.silu(x.chunk(2, 1)[0]), torch.tanh(x.chunk(2, 1)[1])], 1),
}


class TorchBranch(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.function = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.function(self.conv(x)).mean((2, 3)))


class TorchNet(nn.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        functions = [FUNCTIONS[fault]] if fault else FUNCTIONS.values()
        self.branches = nn.ModuleList(TorchBranch(function) for function in functions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(fault), loss=F.cross_entropy)
