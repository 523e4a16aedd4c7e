"""A gradient that is stopped: forward all agrees, and so no cause is named that would be off forward as well."""

from collections.abc import Callable

import flax.linen as fnn
import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.pair.findings import FindingKind
from parity.verdict.verdict import UNEXPLAINED

INPUTS = {"x": parity.normal(4, 6), "labels": parity.integers(4, below=3)}


class TorchNet(nn.Module):
    """What leads around a layer is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.head(x + torch.tanh(self.inner(x)))


class FlaxNet(fnn.Module):
    add: Callable[[jax.Array, jax.Array], jax.Array]

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = fnn.Dense(6, name="first")(x)
        return fnn.Dense(3, name="head")(self.add(x, jnp.tanh(fnn.Dense(6, name="inner")(x))))


def found(add: Callable[[jax.Array, jax.Array], jax.Array], is_reversed: bool) -> parity.Finding:
    ports = [bntorch.port(TorchNet(), loss=F.cross_entropy), bnjax.port(FlaxNet(add), loss=cross_entropy)]
    ports = ports[::-1] if is_reversed else ports
    (finding,) = parity.compare(*ports, inputs=INPUTS, questions=("forced",)).findings
    return finding


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_stopped_gradient_is_no_missing_term(is_reversed: bool) -> None:
    stopped = found(lambda x, y: x + jax.lax.stop_gradient(y), is_reversed)
    assert (stopped.kind, stopped.cause.name) == (FindingKind.BACKWARD, "stopped_gradient")
    assert "forward it agrees" in stopped.agrees


def test_a_missing_term_is_one() -> None:
    missing = found(lambda x, y: x, is_reversed=False)
    assert (missing.kind, missing.cause.name) == (FindingKind.FORWARD, "missing_residual")


def test_causes_that_reproduce_the_same_are_told_with_what_each_would_be() -> None:
    class TorchHalves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one, two = self.first(x).chunk(2, -1)
            return self.head(torch.cat([one.tanh(), two.tanh()], -1))

    class FlaxHalves(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            one, two = jnp.split(fnn.Dense(6, name="first")(x), 2, -1)
            return fnn.Dense(3, name="head")(jnp.tanh(jnp.concatenate([two, one], -1)))

    ports = bntorch.port(TorchHalves(), loss=F.cross_entropy), bnjax.port(FlaxHalves(), loss=cross_entropy)
    (finding,) = parity.compare(*ports, inputs=INPUTS, questions=("forced",)).findings
    assert finding.cause.name == UNEXPLAINED
    for name in ("qkv_order (what is packed", "concatenation_order (what is joined"):
        assert name in finding.cause.evidence


def test_what_has_no_number_to_be_fitted_is_named_before_what_has_one() -> None:
    class TorchScores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head((self.first(x) / 2).softmax(-1))

    class FlaxScores(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return fnn.Dense(3, name="head")(jax.nn.softmax(fnn.Dense(6, name="first")(x), -1))

    ports = bntorch.port(TorchScores(), loss=F.cross_entropy), bnjax.port(FlaxScores(), loss=cross_entropy)
    (finding,) = parity.compare(*ports, inputs=INPUTS, questions=("forced",)).findings
    assert finding.cause.name == "missing_scale"
    assert "the divisor is left out" in finding.cause.evidence
