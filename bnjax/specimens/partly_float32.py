"""A norm that computes in float32 whatever it is given, as many published models do."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp

import bnjax

from .losses import cross_entropy


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


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
