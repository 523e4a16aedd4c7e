"""Branches of a convolution, a norm and a function of images, each in a convention of its own; PyTorch, and NNX."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

SIZE = 8  # of the images


def _resize(size: int, **options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: F.interpolate(x, size=(size, size), mode="bilinear", **options)


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
    "pool_padding maximum": lambda x: F.max_pool2d(x, 3, 2, 1),
    "resize_kernel": _resize(7),
    "align_corners": _resize(7, align_corners=True),
    "resize_antialias": _resize(3),
    "missing_residual": lambda x: x + F.silu(x),
    "missing_scale": lambda x: x * 0.5,
    "extra_scale": lambda x: x.amax((2, 3), keepdim=True),
    "mask_polarity": lambda x: x.masked_fill(torch.arange(SIZE) < 3, 0.0),
    "mask_constant": lambda x: x.masked_fill(torch.arange(SIZE) < 3, -1e4) / 1e4,
    "concatenation_order": lambda x: torch.cat([F.silu(x[:, :2]), torch.tanh(x[:, 2:])], 1),
    "qkv_order": lambda x: torch.cat([F.silu(x.chunk(2, 1)[0]), torch.tanh(x.chunk(2, 1)[1])], 1),
    "rounding_rule": lambda x: (x.round() / 2).round(),
}
# By fault: the layers before, of which the last is a norm or a layer that is faulty itself.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "statistics_never_used": lambda: nn.BatchNorm2d(4),
    "statistics_always_used": lambda: nn.BatchNorm2d(4),
    "norm_epsilon batch": lambda: nn.BatchNorm2d(4),
    "norm_epsilon group": lambda: nn.GroupNorm(2, 4),
    "norm_epsilon layer": lambda: nn.GroupNorm(1, 4),
    "norm_epsilon instance": lambda: nn.InstanceNorm2d(4, affine=True),
    "same_padding": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1),
    "flipped_kernel": lambda: nn.ConvTranspose2d(4, 4, 2, stride=2),
    "kernel_axes": lambda: nn.Conv2d(4, 4, 3),
    "missing_bias": lambda: nn.Conv2d(4, 4, 3),
}


class TorchBranch(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
        if name in LAYERS:
            self.layer = LAYERS[name]()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = F.softplus(self.layer(x)) if self.name in LAYERS else FUNCTIONS[self.name](x)
        return self.head(x.mean((2, 3)))


class TorchNet(nn.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        names = [fault] if fault else [*FUNCTIONS, *LAYERS]
        self.branches = nn.ModuleList(TorchBranch(name) for name in names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch(x) for branch in self.branches]).mean(0)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(fault), loss=F.cross_entropy)
