"""A transformer encoder with a padding mask: PyTorch's own attention, and linen's."""

from typing import Any

import flax.linen as fnn
import jax

import bnjax

from .losses import LOSSES, cross_entropy

WIDTH, HEADS, WORDS = 12, 3, 17


class FlaxLayer(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        y = fnn.LayerNorm(epsilon=1e-6 if self.fault == "norm_epsilon" else 1e-5)(x)
        mask = ~mask if self.fault == "mask_polarity" else mask
        x = x + fnn.MultiHeadDotProductAttention(HEADS)(y, y, mask=mask[:, None, None, :])
        y = fnn.LayerNorm(epsilon=1e-5)(x)
        y = fnn.gelu(fnn.Dense(20)(y), approximate=self.fault == "gelu_form")
        y = fnn.Dense(WIDTH)(y)
        return y if self.fault == "missing_residual" else x + y


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        x = fnn.Embed(WORDS, WIDTH)(ids)
        x = x + self.param("positions", fnn.initializers.normal(), (7, WIDTH))
        for layer in range(2):
            x = FlaxLayer(self.fault if layer == 1 else "")(x, mask)
        x = fnn.LayerNorm(epsilon=1e-5)(x)
        return fnn.Dense(4)(x[:, -1] if self.fault == "last_token" else x[:, 0])


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=LOSSES.get(fault, cross_entropy))
