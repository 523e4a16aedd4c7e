"""Layers in a `ModuleList` against layers that are scanned, with a rematerialized one and a mapped one."""

from typing import Any

import flax.linen as fnn
import jax

import bnjax

from .losses import cross_entropy

WIDTH, LAYERS = 6, 4


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


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
