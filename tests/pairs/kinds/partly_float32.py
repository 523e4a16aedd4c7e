"""A norm that computes in float32 whatever it is given, as many published models do."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers, normal

from .losses import cross_entropy

lift_float32 = True
inputs = {"x": normal(5, 6), "labels": integers(5, below=4)}


class TorchNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance = x.float().square().mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + 1e-6)).to(x.dtype)


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), TorchNorm(), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(torch.tanh(self.first(x))))


class FlaxNorm(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        variance = jnp.square(x.astype(jnp.float32)).mean(-1, keepdims=True)
        eps = 1e-3 if self.fault == "norm_epsilon" else 1e-6
        return self.param("weight", fnn.initializers.ones, (8,)) * (x * jax.lax.rsqrt(variance + eps)).astype(x.dtype)


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Dense(4)(FlaxNorm(self.fault)(fnn.tanh(fnn.Dense(8)(x))))


def reference() -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)


def candidate(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
