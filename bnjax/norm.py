"""Batch norm under the spec's conventions, in Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from bnjax.parts import HONEST, Parts
from parity.spec import RunningVariance, as_choice


class BatchNorm(nn.Module):
    """Batch norm over the first axis.

    Training, with the batch's mean `m` and biased variance `v` (two-pass)::

        y = scale * (x - m) / sqrt(v + eps) + bias
        mean = decay * mean + (1 - decay) * m
        var  = decay * var  + (1 - decay) * v * n / (n - 1)     "biased": without the factor

    Evaluating, `m` and `v` are the running `mean` and `var`, which stay as they are. Inputs of a narrower dtype than
    the parameters' are computed in the parameters' dtype; `y` has the inputs' dtype. The names of parameters and
    statistics are those of `flax.linen.BatchNorm`, so the two take each other's variables.

    Args:
        eps: inside the square root.
        decay: share of the old statistic that is kept.
        running_variance: the variance that enters the running one, "unbiased" or "biased".
        param_dtype: of parameters and statistics.
        parts: the formulas.

    Raises:
        InputError: `running_variance` is no choice, or training gets fewer than two samples.

    Reference: Ioffe and Szegedy, 2015.
    """

    eps: float = 1e-5
    decay: float = 0.9
    running_variance: RunningVariance = RunningVariance.UNBIASED
    param_dtype: Any = jnp.float32
    parts: Parts = HONEST

    def __post_init__(self) -> None:
        super().__post_init__()
        as_choice("running_variance", self.running_variance, RunningVariance)

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "batch features"], train: bool = False
    ) -> Float[jax.Array, "batch features"]:
        """Normalize `x`."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)
        wide = x.astype(jnp.promote_types(x.dtype, scale.dtype))
        mean, var = running_mean.value, running_var.value
        if train:
            self.parts.check_batch(len(x))
            mean, var = self.parts.batch_moments(wide)
            if not self.is_initializing():
                running_mean.value, running_var.value = self.parts.update_statistics(
                    running_mean.value, running_var.value, mean, var, len(x), self.decay, self.running_variance
                )
        return self.parts.normalize(wide, mean, var, scale, bias, self.eps, train).astype(x.dtype)
