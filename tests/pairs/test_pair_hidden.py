"""What one cause must not hide: numbers narrower than float32, and what else is wrong at a norm."""

from typing import Any

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
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(6, 5), "labels": parity.integers(6, below=3)}
OFFSET = 1e5  # so far from 0 that the squares of a batch lose half of their digits


class Net(fnn.Module):
    dtype: Any = jnp.float64
    momentum: float | None = None

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = fnn.Dense(4, name="first")(x).astype(self.dtype).astype(jnp.float64)
        if self.momentum is not None:
            norm = fnn.BatchNorm(not train, momentum=self.momentum, name="norm")
            x = norm(x + OFFSET)
        return fnn.Dense(3, name="last")(x)


class TorchNet(nn.Module):
    def __init__(self, has_norm: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(4) if has_norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x if self.norm is None else self.norm(x + OFFSET))


def compared(candidate: Net, is_reversed: bool = False) -> parity.CompareReport:
    model = TorchNet(candidate.momentum is not None)
    ports: list[Any] = [bntorch.port(model, loss=F.cross_entropy), bnjax.port(candidate, loss=cross_entropy)]
    return parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS, questions=("forced",))


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_what_is_narrower_than_float32_is_a_difference_that_is_named(dtype: Any, is_reversed: bool) -> None:
    report = compared(Net(dtype), is_reversed)
    assert report.verdict is Verdict.DISAGREE
    (finding,) = report.findings
    assert (finding.kind, finding.cause.name) == (FindingKind.FORWARD, "float32_island")
    assert jnp.dtype(dtype).name in finding.cause.evidence


def test_what_is_as_small_as_float32_is_no_difference() -> None:
    report = compared(Net(jnp.float32))
    assert (report.verdict, report.findings) == (Verdict.INCOMPLETE, ())


def test_how_a_variance_rounds_does_not_hide_a_wrong_momentum() -> None:
    found = [(each.kind, each.cause.name) for each in compared(Net(momentum=0.8)).findings]
    assert (FindingKind.FORWARD, "fast_variance") in found
    assert FindingKind.STATISTICS in [kind for kind, _ in found]


class Instances(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = fnn.Dense(4, name="first")(x.swapaxes(1, 2))
        scale = self.param("norm_weight", fnn.initializers.ones, (4,))
        shift = self.param("norm_bias", fnn.initializers.zeros, (4,))
        x = (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-5) * scale + shift
        return fnn.Dense(3, name="last")(x.mean(1))


class TorchInstances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(5, 4, 1), nn.Linear(4, 3)
        self.norm = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x)).mean(-1))


def test_an_instance_norm_that_keeps_averages_is_no_fast_variance() -> None:
    report = parity.compare(
        bntorch.port(TorchInstances(), loss=F.cross_entropy),
        bnjax.port(Instances(), loss=cross_entropy),
        inputs={"x": parity.normal(6, 5, 7), "labels": parity.integers(6, below=3)},
        questions=("forced",),
    )
    assert report.verdict is Verdict.DISAGREE  # in evaluation one takes averages, the other does not
    assert "fast_variance" not in [each.cause.name for each in report.findings]


class TorchChain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.d(torch.tanh(self.c(torch.tanh(self.b(torch.tanh(self.a(x)))))))


class Chain(fnn.Module):
    """With a residual that the other has not."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(fnn.Dense(6, name="a")(x))
        y = jnp.tanh(fnn.Dense(6, name="b")(x))
        return fnn.Dense(3, name="d")(jnp.tanh(fnn.Dense(6, name="c")(y)) + x)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_residual_that_one_side_adds_is_one_finding(is_reversed: bool) -> None:
    """The value that it adds has another gradient too, which follows."""
    ports: list[Any] = [bntorch.port(TorchChain(), loss=F.cross_entropy), bnjax.port(Chain(), loss=cross_entropy)]
    report = parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS, questions=("forced",))
    assert [(each.kind, each.reference) for each in report.findings] == [(FindingKind.FORWARD, "d")]
