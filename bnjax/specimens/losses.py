"""Losses in JAX."""

import jax
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over all but the last axis."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def square(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean square error."""
    return ((outputs - targets) ** 2).mean()
