"""A table of words and one of places, a dense layer over them, and losses of every convention; PyTorch, and linen."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp

import bnjax

from .losses import LOSSES, cross_entropy

WORDS, PLACES, WIDTH, CLASSES = 5, 7, 6, 3


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        first = 1 if self.fault == "position_offset" else 0
        places = fnn.Embed(PLACES, WIDTH, name="places")(jnp.arange(ids.shape[1]) + first)
        words = fnn.Embed(WORDS, WIDTH, name="table")(ids)
        words = words * 3 if self.fault == "extra_scale" else words
        return fnn.Dense(CLASSES, name="head")(jnp.tanh(words + places).mean(1))


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=LOSSES.get(fault, cross_entropy))
