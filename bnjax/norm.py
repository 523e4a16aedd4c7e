"""Batch norm under the spec's conventions, in Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from parity.spec import RunningVariance, check_training_batch


class BatchNorm(nn.Module):
    """Batch norm over the first axis.

    Training, with the batch's mean `m` and biased variance `v` (two-pass)::

        y = scale * (x - m) / sqrt(v + eps) + bias
        mean = decay * mean + (1 - decay) * m
        var  = decay * var  + (1 - decay) * v * n / (n - 1)     "biased": without the factor

    Evaluating, `m` and `v` are the running `mean` and `var`, which stay as they are. The names of parameters and
    statistics are those of `flax.linen.BatchNorm`, so the two take each other's variables.

    Args:
        eps: inside the square root.
        decay: share of the old statistic that is kept.
        running_variance: which variance enters the running one.
        param_dtype: of parameters and statistics.

    Raises:
        InputError: fewer than two samples in training.

    Reference: Ioffe and Szegedy, 2015.
    """

    eps: float = 1e-5
    decay: float = 0.9
    running_variance: RunningVariance = RunningVariance.UNBIASED
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalize `x`, shape (batch, features)."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)
        if not train:
            return normalize(x, running_mean.value, running_var.value, scale, bias, self.eps)

        check_training_batch(len(x))
        mean, var = batch_moments(x)
        if not self.is_initializing():
            new_var = var
            if self.running_variance == RunningVariance.UNBIASED:
                new_var = var * (len(x) / (len(x) - 1))
            running_mean.value = self.decay * running_mean.value + (1 - self.decay) * mean
            running_var.value = self.decay * running_var.value + (1 - self.decay) * new_var
        return normalize(x, mean, var, scale, bias, self.eps)


def batch_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over the first axis, two-pass: E[x^2] - E[x]^2 would cancel."""
    mean = x.mean(axis=0)
    return mean, jnp.square(x - mean).mean(axis=0)


def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float
) -> jax.Array:
    """`scale * (x - mean) / sqrt(var + eps) + bias`."""
    return scale * (x - mean) * jax.lax.rsqrt(var + eps) + bias
