"""Honest variants: each computes the same in another way, so the check must not flag it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from bnjax.eager import not_compiled, not_donated


def stock_norm(backend: Any) -> Any:
    """Return the backend that computes moments by `jnp.var` and normalizes by one factor, as `flax.linen.BatchNorm`."""
    return replace(backend, parts=replace(backend.parts, batch_moments=_stock_moments, normalize=_stock_normalize))


def _stock_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x.mean(axis=0), x.var(axis=0)


def _stock_normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    return (x - mean) * (jax.lax.rsqrt(var + eps) * scale) + bias


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "not_compiled": not_compiled,
    "not_donated": not_donated,
    "stock_norm": stock_norm,
}
