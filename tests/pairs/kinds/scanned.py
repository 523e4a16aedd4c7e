"""Layers in a `ModuleList` against layers that are scanned, with a rematerialized one and a mapped one."""

from typing import Any

import flax.linen as fnn
import jax
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers, normal

from .losses import cross_entropy

WIDTH, LAYERS = 6, 4
inputs = {"x": normal(5, 3, WIDTH), "labels": integers(5, 3, below=4)}


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


class FlaxLayer(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        y = fnn.tanh(fnn.Dense(WIDTH, name="linear")(fnn.LayerNorm(epsilon=1e-5, name="norm")(x)))
        return (y if self.fault == "missing_residual" else x + y), None


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scanned = fnn.scan(FlaxLayer, variable_axes={"params": 0}, split_rngs={"params": True}, length=LAYERS)
        x, _ = scanned(self.fault, name="layers")(x, None)
        x = fnn.remat(fnn.Dense)(WIDTH, name="again")(x)
        x = x if self.fault == "missing_relu" else fnn.relu(x)
        head = fnn.vmap(fnn.Dense, variable_axes={"params": None}, split_rngs={"params": False})
        return head(4, name="head")(x)


def reference() -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)


def candidate(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
