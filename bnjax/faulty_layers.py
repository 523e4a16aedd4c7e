"""The faulty parts of linear layer and norm, in JAX; `faults.py` names them."""

from functools import partial

import jax
import jax.numpy as jnp

from bnjax.parts import MEMBERS, batch_moments, dropout, linear, normalize, update_statistics
from parity.spec import RunningVariance


def missing_bias(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """No bias is added."""
    del bias
    return x @ kernel


def bfloat16_matmul(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Operands of float32 products are rounded to bfloat16's 7 bits of mantissa."""
    return linear(_round(x, 7), _round(kernel, 7), bias)


def tf32_matmul(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Operands of float32 products are rounded to TF32's 10 bits of mantissa."""
    return linear(_round(x, 10), _round(kernel, 10), bias)


def _round(x: jax.Array, bits: int) -> jax.Array:
    return _round_mantissa(x, bits) if x.dtype == jnp.float32 else x


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _round_mantissa(x: jax.Array, bits: int) -> jax.Array:
    """`x` to the nearest, ties to even, of `bits` explicit bits of mantissa; its derivative is 1."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)


@_round_mantissa.defjvp
def _(bits: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _round_mantissa(*primals, bits), tangents[0]


def fast_variance(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`var = E[x^2] - E[x]^2`, and 0 where that is negative."""
    mean = x.mean(axis=0)
    return mean, jax.nn.relu(jnp.square(x).mean(axis=0) - jnp.square(mean))


def population_leak(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over the members of a population too."""
    try:
        mean = jax.lax.pmean(x.mean(axis=0), MEMBERS)
    except NameError:  # one network alone: no such axis is mapped
        return batch_moments(x)
    return mean, jax.lax.pmean(jnp.square(x - mean).mean(axis=0), MEMBERS)


def unbiased_normalizer(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """In training the normalizer's variance is `var * n / (n - 1)`."""
    if train:
        var = var * (len(x) / max(len(x) - 1, 1))
    return normalize(x, mean, var, scale, bias, eps, train)


def epsilon_outside_sqrt(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """`scale * (x - mean) / (sqrt(var) + eps) + bias`; the root's derivative at 0 is taken for 0."""
    del train
    positive = jnp.where(var > 0, var, 1)
    return scale * (x - mean) / (jnp.where(var > 0, jnp.sqrt(positive), 0) + eps) + bias


def epsilon_twice_in_eval(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """In evaluation `sqrt(var + 2 * eps)`."""
    return normalize(x, mean, var, scale, bias, eps if train else 2 * eps, train)


def scale_plus_one(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """The scale is read as `1 + scale`."""
    return normalize(x, mean, var, 1 + scale, bias, eps, train)


def wrong_axis(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """In training the normalizer's mean and biased variance are over each sample's features."""
    if train:
        mean, var = (moment[:, None] for moment in batch_moments(x.T))
    return normalize(x, mean, var, scale, bias, eps, train)


def detached_statistics(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """No gradient flows through mean and variance."""
    return normalize(x, jax.lax.stop_gradient(mean), jax.lax.stop_gradient(var), scale, bias, eps, train)


def frozen_running_statistics(
    running_mean: jax.Array,
    running_var: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[jax.Array, jax.Array]:
    """The running statistics stay as they are."""
    del mean, var, size, decay, running_variance
    return running_mean, running_var


def double_update(
    running_mean: jax.Array,
    running_var: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[jax.Array, jax.Array]:
    """A batch updates the running statistics twice."""
    once = update_statistics(running_mean, running_var, mean, var, size, decay, running_variance)
    return update_statistics(*once, mean, var, size, decay, running_variance)


def float32_statistics(
    running_mean: jax.Array,
    running_var: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[jax.Array, jax.Array]:
    """The new statistics are rounded to float32, whatever the working dtype is."""
    new_mean, new_var = update_statistics(running_mean, running_var, mean, var, size, decay, running_variance)
    return new_mean.astype(jnp.float32).astype(mean.dtype), new_var.astype(jnp.float32).astype(var.dtype)


def unscaled_dropout(x: jax.Array, mask: jax.Array, rate: float) -> jax.Array:
    """The units that are kept stay as they are."""
    del rate
    return dropout(x, mask, 0.0)


def batch_of_one(batch_size: int) -> None:
    """Nothing is refused."""
    del batch_size
