"""The faulty parts of linear layer and norm, in JAX; `faults.py` names them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from bnjax.parts import MEMBERS, batch_moments

Part = Callable[..., Any]


def bfloat16_matmul(honest: Part, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Round the operands of float32 products to bfloat16's 7 bits of mantissa."""
    return honest(_round(x, 7), _round(kernel, 7), bias)


def tf32_matmul(honest: Part, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Round the operands of float32 products to TF32's 10 bits of mantissa."""
    return honest(_round(x, 10), _round(kernel, 10), bias)


def _round(x: jax.Array, bits: int) -> jax.Array:
    return _round_mantissa(x, bits) if x.dtype == jnp.float32 else x


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _round_mantissa(x: jax.Array, bits: int) -> jax.Array:
    """Round `x` to `bits` explicit bits of mantissa, to nearest, ties to even; the derivative is 1."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)


@_round_mantissa.defjvp
def _(bits: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _round_mantissa(*primals, bits), tangents[0]


def fast_variance(honest: Part, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return `var = E[x^2] - E[x]^2`, and 0 where that is negative."""
    mean, _ = honest(x)
    return mean, jax.nn.relu(jnp.square(x).mean(axis=0) - jnp.square(mean))


def population_leak(honest: Part, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Take mean and variance over the members of a population too."""
    try:
        mean = jax.lax.pmean(x.mean(axis=0), MEMBERS)
    except NameError:  # one network alone maps no such axis
        return honest(x)
    return mean, jax.lax.pmean(jnp.square(x - mean).mean(axis=0), MEMBERS)


def epsilon_outside_sqrt(
    honest: Part,
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    eps: float,
    train: bool,
) -> jax.Array:
    """Return `scale * (x - mean) / (sqrt(var) + eps) + bias`; the root's derivative at 0 counts as 0."""
    positive = jnp.where(var > 0, var, 1)
    return scale * (x - mean) / (jnp.where(var > 0, jnp.sqrt(positive), 0) + eps) + bias


def wrong_axis(
    honest: Part,
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    eps: float,
    train: bool,
) -> jax.Array:
    """In training, normalize by the mean and biased variance over each sample's features."""
    if train:
        mean, var = (moment[:, None] for moment in batch_moments(x.T))
    return honest(x, mean, var, scale, bias, eps, train)


def detached_statistics(
    honest: Part,
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    eps: float,
    train: bool,
) -> jax.Array:
    """Let no gradient flow through mean and variance."""
    return honest(x, jax.lax.stop_gradient(mean), jax.lax.stop_gradient(var), scale, bias, eps, train)


def float32_statistics(honest: Part, *arguments: Any) -> tuple[jax.Array, jax.Array]:
    """Round the new statistics to float32, in every working dtype."""
    mean, var = honest(*arguments)
    return mean.astype(jnp.float32).astype(mean.dtype), var.astype(jnp.float32).astype(var.dtype)
