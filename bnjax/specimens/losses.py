"""Losses in JAX, and faulty ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over all but the last axis."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def square(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean square error."""
    return ((outputs - targets) ** 2).mean()


def _each(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _by_count(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return (_each(logits, labels) * (1 + jnp.arange(logits.shape[-1]))[labels]).mean()


def _smoothed(logits: jax.Array, labels: jax.Array) -> jax.Array:
    wanted = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), 0.1)
    return optax.softmax_cross_entropy(logits, wanted).mean()


def _squares(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return (logits - jax.nn.one_hot(labels, logits.shape[-1])) ** 2


# By fault; of the others it is cross entropy, without weights and with every label.
LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "class_weights": _by_count,
    "half_square": lambda z, y: _squares(z, y).mean() / 2,
    "loss_reduction": lambda z, y: _each(z, y).sum(),
    "loss_reduction square": lambda z, y: _squares(z, y).sum(),
    "label_smoothing": _smoothed,
}
