"""An LSTM over embedded words: PyTorch's, with its two biases, and linen's cell, scanned."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp

import bnjax

from .losses import cross_entropy

WORDS, WIDTH, STATE = 13, 5, 6


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        x = fnn.Embed(WORDS, WIDTH)(ids)
        gate = fnn.tanh if self.fault == "gate" else fnn.sigmoid
        outputs: Any = fnn.RNN(fnn.OptimizedLSTMCell(STATE, gate_fn=gate), reverse=self.fault == "reversed")(x)
        return fnn.Dense(4)(jnp.mean(outputs, 1) if self.fault == "pool" else outputs[:, -1])


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
