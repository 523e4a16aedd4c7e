"""Branches of two dense layers with functions between them, each in a convention of its own; PyTorch, and linen."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

FIRST_TWO = torch.tensor([True, True, False, False, False])[:, None]


def _packed(x: torch.Tensor) -> torch.Tensor:
    q, k, v = x.chunk(3, -1)
    return torch.cat([q * k, k * v, v], -1).mean(1)


def _partly_zero(x: torch.Tensor) -> torch.Tensor:
    return x - torch.where(torch.arange(5)[:, None] < 2, x.detach(), 0.0)


def _heads(x: torch.Tensor) -> torch.Tensor:
    split = x.unflatten(-1, (2, 3))
    return (split * split.softmax(3)).flatten(2).mean(1)


GAP = torch.arange(5)[:, None] - torch.arange(5)
WINDOW = (GAP >= 0) & (GAP < 2)


def _tied(x: torch.Tensor) -> torch.Tensor:
    """The first positions are 0, and the others less."""
    return torch.where(FIRST_TWO, x - x.detach(), x - 9)


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu_form": lambda x: F.gelu(x).mean(1),
    "activation_slope": lambda x: F.leaky_relu(x, 0.1).mean(1),
    "other_activation": lambda x: F.silu(x).mean(1),
    "missing_module": lambda x: torch.tanh(x).mean(1),
    "softmax_axis": lambda x: x.softmax(-1).mean(1),
    "attention_scale": lambda x: (x / 2).softmax(-1).mean(1),
    "standard_deviation": lambda x: x.std(1),
    "pool_kind": lambda x: x.mean(1),
    "taken_position": lambda x: x[:, 0],
    "missing_residual": lambda x: (x + torch.tanh(x)).mean(1),
    "stopped_gradient": lambda x: (x + torch.tanh(x)).mean(1),
    "missing_scale": lambda x: (x * 6**0.5).mean(1),
    "extra_scale": lambda x: x.mean(1),
    "mask_polarity": lambda x: torch.where(torch.arange(5)[:, None] < 2, x, 0.0).sum(1),
    "mask_constant": lambda x: x.masked_fill(torch.arange(5)[:, None] < 2, -1e4).mean(1) / 1e4,
    "relu_at_zero": lambda x: (x + F.relu(_partly_zero(x))).mean(1),
    "causal_offset": lambda x: (torch.ones(5, 5, dtype=x.dtype).tril() @ x).mean(1),
    "qkv_order": _packed,
    "head_axes": _heads,
    "sliding_window": lambda x: F.scaled_dot_product_attention(x, x, x, WINDOW, scale=1.0).mean(1),
    "fast_variance": lambda x: F.layer_norm(x + 100, (6,)).mean(1),
    "median_rule": lambda x: (x - x.median(-1, keepdim=True).values).mean(1),
    "tie_rule": lambda x: _tied(x).amax(1),
    "norm_epsilon": lambda x: (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)).mean(1),
}


class TorchBranch(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.head, self.function = nn.Linear(6, 6), nn.Linear(6, 3), function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.function(self.first(x)))


class TorchNet(nn.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        names = [fault] if fault else list(FUNCTIONS)
        self.branches = nn.ModuleDict({name: TorchBranch(FUNCTIONS[name]) for name in names})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch(x) for branch in self.branches.values()]).mean(0)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(fault), loss=F.cross_entropy)
