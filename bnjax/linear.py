"""The linear layer, in Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnjax.parts import HONEST, Parts


class Linear(nn.Module):
    """`x @ kernel + bias`, both drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    The names of the parameters are those of `flax.linen.Dense`, so the two take each other's variables.

    Args:
        out_features: size of the last axis of the output.
        param_dtype: of parameters.
        dtype: of the product and what it gives; None for the parameters' and the input's.
        parts: `linear` is the one that is used.
    """

    out_features: int
    param_dtype: Any = jnp.float32
    dtype: Any = None
    parts: Parts = HONEST

    @nn.compact
    def __call__(self, input: jax.Array) -> jax.Array:
        """Map `input`, shape (batch, in_features), to shape (batch, out_features)."""
        fan_in = input.shape[-1]

        def uniform_fan_in(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -1, 1) / fan_in**0.5

        kernel = self.param("kernel", uniform_fan_in, (fan_in, self.out_features), self.param_dtype)
        bias = self.param("bias", uniform_fan_in, (self.out_features,), self.param_dtype)
        x = input
        if self.dtype is not None:
            x, kernel, bias = x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype)
        return self.parts.linear(x, kernel, bias)
