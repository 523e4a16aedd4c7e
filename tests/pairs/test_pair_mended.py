"""Faults of published ports (`docs/findings`), in modules of our own: found as published, and mended they agree."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.verdict.verdict import Verdict

LABELS = parity.integers(3, below=4)


def found(reference: nn.Module, candidate: fnn.Module, x: Any, **options: Any) -> parity.CompareReport:
    ports: tuple[Any, Any] = (
        bntorch.port(reference, loss=F.cross_entropy),
        bnjax.port(candidate, loss=cross_entropy),
    )
    return parity.compare(*ports, inputs={"x": x, "labels": LABELS}, questions=("forced", "free"), **options)


WIDTH, LENGTH, WINDOW, HEADS = 8, 7, 3, 2


class TorchWindow(nn.Module):
    """Each word sees itself and those just before it, `WINDOW` in all."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (each(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        apart = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=(apart >= 0) & (apart < WINDOW))
        return self.head(x.transpose(1, 2).flatten(2)[:, -1])


class FlaxWindow(fnn.Module):
    """As FlaxMistral has it, the window is one too long."""

    is_mended: bool

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (fnn.Dense(WIDTH, name=name)(x).reshape(len(x), LENGTH, HEADS, -1) for name in "qkv")
        causal = jnp.tril(jnp.ones((LENGTH, LENGTH), bool))
        mask = jnp.triu(causal, -(WINDOW - 1) if self.is_mended else -WINDOW)
        x = fnn.dot_product_attention(q, k, v, mask=mask)
        return fnn.Dense(4, name="head")(x.reshape(len(x), LENGTH, -1)[:, -1])


class TorchBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.norm(self.first(x))))


class FlaxLayer(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
        return fnn.relu(fnn.BatchNorm(use_running_average=deterministic, momentum=0.9)(fnn.Dense(5)(x)))


class FlaxBlocks(fnn.Module):
    """As FlaxRegNet has it, the mode is not handed on."""

    is_mended: bool

    @fnn.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        mode = {"deterministic": deterministic} if self.is_mended else {}
        return fnn.Dense(4)(FlaxLayer()(x, **mode))


FEW, MANY = 3, 5  # places along an edge, as they are stored and as they are wanted


class TorchPlaces(nn.Module):
    """A table of places, resized to a larger image."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.head = nn.Parameter(torch.randn(1, 6, FEW, FEW)), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = F.interpolate(self.places, size=(MANY, MANY), mode="bicubic")
        return self.head(torch.tanh(x + places.flatten(2).mT).mean(1))


def cubic_weights(a: float = -0.75) -> np.ndarray:
    """The weight of each stored place at each wanted one, centers of pixels kept, the edge repeated (Keys, 1981)."""
    found = np.zeros((MANY, FEW))
    for wanted in range(MANY):
        at = (wanted + 0.5) * FEW / MANY - 0.5
        for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            x = abs(at - tap)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            weight = near if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4)
            found[wanted, min(max(tap, 0), FEW - 1)] += weight
    return found


class FlaxPlaces(fnn.Module):
    """As FlaxDinov2 has it, another cubic kernel resizes."""

    is_mended: bool

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        places = self.param("places", fnn.initializers.normal(), (1, 6, FEW, FEW))
        if self.is_mended:
            weights = jnp.asarray(cubic_weights())
            places = jnp.einsum("oi,pj,bcij->bcop", weights, weights, places)
        else:
            places = jax.image.resize(places, (1, 6, MANY, MANY), "bicubic", antialias=False)
        return fnn.Dense(4, name="head")(jnp.tanh(x + places.reshape(1, 6, -1).mT).mean(1))


PUBLISHED: dict[str, tuple[type[nn.Module], type[Any], Any]] = {
    "sliding_window": (TorchWindow, FlaxWindow, parity.normal(3, LENGTH, WIDTH)),
    "statistics_always_used": (TorchBlocks, FlaxBlocks, parity.normal(3, 6)),
    "resize_kernel": (TorchPlaces, FlaxPlaces, parity.normal(3, MANY**2, 6)),
}
PLACES = {
    "sliding_window": "between v and head",
    "statistics_always_used": "norm (FlaxLayer_0.BatchNorm_0 in the candidate)",
    "resize_kernel": "between the input of the model and head",
}


@pytest.mark.parametrize("cause", PUBLISHED)
def test_a_published_fault_is_found_and_mended_it_agrees(cause: str) -> None:
    reference, candidate, x = PUBLISHED[cause]
    accept = {"accept": ["biased_running_variance"]} if "statistics" in cause else {}
    (finding,) = found(reference(), candidate(is_mended=False), x).findings
    assert (finding.kind, finding.place, finding.cause.name) == ("forward", PLACES[cause], cause)
    mended = found(reference(), candidate(is_mended=True), x, **accept)
    assert mended.verdict is Verdict.AGREE, (mended.findings, mended.not_compared)
