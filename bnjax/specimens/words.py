"""A table of words and one of places, a dense layer over them, and losses of every convention; PyTorch, and linen."""

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import optax

import bnjax

from .losses import cross_entropy

WORDS, PLACES, WIDTH, CLASSES = 5, 7, 6, 3
CLASS_WEIGHTS = (1.0, 2.0, 0.5)


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        first = 1 if self.fault == "position_offset" else 0
        places = fnn.Embed(PLACES, WIDTH, name="places")(jnp.arange(ids.shape[1]) + first)
        words = fnn.Embed(WORDS, WIDTH, name="table")(ids)
        words = words * 3 if self.fault == "extra_scale" else words
        return fnn.Dense(CLASSES, name="head")(jnp.tanh(words + places).mean(1))


def _each(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _by_count(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return (_each(logits, labels) * jnp.array(CLASS_WEIGHTS)[labels]).mean()


def _smoothed(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), 0.1)).mean()


def _squares(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return (logits - jax.nn.one_hot(labels, CLASSES)) ** 2


# By fault.
LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "class_weights": _by_count,
    "half_square": lambda z, y: _squares(z, y).mean() / 2,
    "loss_reduction": lambda z, y: _each(z, y).sum(),
    "loss_reduction square": lambda z, y: _squares(z, y).sum(),
    "label_smoothing": _smoothed,
}


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=LOSSES.get(fault, cross_entropy))
