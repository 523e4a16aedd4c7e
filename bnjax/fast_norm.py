"""Batch norm's formula, rewritten for the speed of a population's gradient."""

from dataclasses import replace

import jax

from bnjax.parts import Parts, normalize


def with_fast_norm(parts: Parts) -> Parts:
    """Return `parts` with the plain `normalize` replaced by `fast_normalize`; any other one stays."""
    return replace(parts, normalize=fast_normalize) if parts.normalize is normalize else parts


def fast_normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """Return `scale * (x - mean) / sqrt(var + eps) + bias`, with fewer sums over the batch in the gradient.

    Each such sum is a pass over memory. Scale and root are one factor for each feature. The mean is held constant where
    it meets the batch; its derivative is taken in a term that is zero, once for each feature. So the gradients of
    `bias` and `mean` need one sum together.
    """
    held = jax.lax.stop_gradient(mean)
    factor = scale * jax.lax.rsqrt(var + eps)
    return (x - held) * factor + (bias - (mean - held) * factor)
