"""Causes in layers, tables and losses: the mode of a norm, padding, corners, a row's gradient, weights of classes."""

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from kinds.losses import cross_entropy
from torch import nn

import bnjax
import bntorch
import parity

IMAGES = {"x": parity.normal(2, 3, 6, 6), "labels": parity.integers(2, below=3)}
WORDS = {"ids": parity.integers(3, 4, below=5), "labels": np.array([0, 1, 2])}
WEIGHTS = (1.0, 2.0, 0.5)


class TorchImages(nn.Module):
    def __init__(self, between: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.head, self.between = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3), between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.between(F.silu(self.norm(self.conv(x)))).mean((2, 3)))


class FlaxImages(fnn.Module):
    between: Callable[[jax.Array], jax.Array]
    fixed_mode: bool | None = None

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        mode = not train if self.fixed_mode is None else self.fixed_mode
        x = fnn.Conv(4, (3, 3), padding="VALID", name="conv")(x)
        x = fnn.silu(fnn.BatchNorm(use_running_average=mode, momentum=0.9, name="norm")(x))
        return fnn.Dense(3, name="head")(self.between(x).mean((1, 2)))


def same(x: Any) -> Any:
    return x


def resized(method: str, **options: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jax.image.resize(x, (x.shape[0], 7, 7, x.shape[3]), method, **options)


def scaled(mode: str, **options: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: F.interpolate(x, size=(7, 7), mode=mode, **options)


def averaged(x: jax.Array, counts: bool) -> jax.Array:
    padding: Any = ((1, 1), (1, 1))
    return fnn.avg_pool(x, (3, 3), (2, 2), padding, count_include_pad=counts)


IN_IMAGES: dict[str, tuple[Any, FlaxImages]] = {
    "statistics_never_used": (same, FlaxImages(same, fixed_mode=False)),
    "statistics_always_used": (same, FlaxImages(same, fixed_mode=True)),
    "resize_kernel": (scaled("bilinear"), FlaxImages(resized("nearest"))),
    "align_corners": (scaled("bilinear", align_corners=True), FlaxImages(resized("bilinear"))),
    "pool_padding": (lambda x: F.avg_pool2d(x, 3, 2, 1), FlaxImages(lambda x: averaged(x, False))),
    "pool_kind": (lambda x: F.max_pool2d(x, 2), FlaxImages(lambda x: fnn.avg_pool(x, (2, 2), (2, 2)))),
}


@pytest.mark.parametrize("cause", IN_IMAGES)
def test_what_a_layer_does_otherwise_is_named(cause: str) -> None:
    ours, theirs = IN_IMAGES[cause]
    reference = bntorch.port(TorchImages(ours), loss=F.cross_entropy)
    candidate = bnjax.port(theirs, loss=cross_entropy)
    accept = ["biased_running_variance"]
    report = parity.compare(reference, candidate, inputs=IMAGES, questions=("forced",), accept=accept)
    forward = [finding for finding in report.findings if finding.kind == "forward"]
    assert [finding.cause.name for finding in forward] == [cause], report.findings


class TorchWords(nn.Module):
    def __init__(self, padding: int | None) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(5, 6, padding_idx=padding), nn.Embedding(7, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.table(ids) + self.places(torch.arange(ids.shape[1]))).mean(1))


class FlaxWords(fnn.Module):
    first: int = 0

    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        places = fnn.Embed(7, 6, name="places")(jnp.arange(ids.shape[1]) + self.first)
        return fnn.Dense(3, name="head")(jnp.tanh(fnn.Embed(5, 6, name="table")(ids) + places).mean(1))


def losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def weighted(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return (losses(logits, labels) * jnp.array(WEIGHTS)[labels]).mean()


IN_WORDS: dict[str, tuple[nn.Module, Any, FlaxWords, Any]] = {
    "position_offset": (TorchWords(None), F.cross_entropy, FlaxWords(1), cross_entropy),
    "embedding_padding": (TorchWords(0), F.cross_entropy, FlaxWords(), cross_entropy),
    "class_weights": (
        TorchWords(None),
        lambda z, y: F.cross_entropy(z, y, torch.tensor(WEIGHTS, dtype=z.dtype)),
        FlaxWords(),
        weighted,
    ),
    "ignored_index": (TorchWords(None), lambda z, y: F.cross_entropy(z, y, ignore_index=1), FlaxWords(), cross_entropy),
    "half_square": (
        TorchWords(None),
        lambda z, y: F.mse_loss(z, F.one_hot(y, 3).to(z.dtype)),
        FlaxWords(),
        lambda z, y: optax.l2_loss(z, jax.nn.one_hot(y, 3)).mean(),
    ),
}


@pytest.mark.parametrize("cause", IN_WORDS)
def test_what_a_table_or_a_loss_does_otherwise_is_named(cause: str) -> None:
    ours, loss, theirs, other = IN_WORDS[cause]
    ports = bntorch.port(ours, loss=loss), bnjax.port(theirs, loss=other)
    report = parity.compare(*ports, inputs=WORDS, questions=("forced",))
    assert [finding.cause.name for finding in report.findings] == [cause], report.findings
