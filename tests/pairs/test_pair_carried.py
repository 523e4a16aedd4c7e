"""Running statistics that depend on how many batches there were: each update is over other numbers."""

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
from parity.verdict.verdict import UNEXPLAINED, Verdict

INPUTS = {"x": parity.normal(6, 5), "labels": parity.integers(6, below=4)}


class TorchNet(nn.Module):
    """With an average over all batches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(x))


class Cumulative(fnn.Module):
    """The same by hand; `last` is the batch from which on it counts no more, `start` where it begins to count."""

    last: int = 100
    start: int = 0

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        mean = self.variable("batch_stats", "mean", jnp.zeros, (5,))
        var = self.variable("batch_stats", "var", jnp.ones, (5,))
        count = self.variable("batch_stats", "count", jnp.zeros, ())
        here = mean.value, var.value
        if train:
            here = x.mean(0), x.var(0)
            if not self.is_initializing():
                count.value += 1.0
                part = 1.0 / (jnp.minimum(count.value, self.last) + self.start)
                mean.value += part * (here[0] - mean.value)
                var.value += part * (here[1] * len(x) / (len(x) - 1) - var.value)
        scale = self.param("scale", fnn.initializers.ones, (5,))
        bias = self.param("bias", fnn.initializers.zeros, (5,))
        return (x - here[0]) * jax.lax.rsqrt(here[1] + 1e-5) * scale + bias


class FlaxNet(fnn.Module):
    last: int = 100
    start: int = 0

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return fnn.Dense(4, name="head")(Cumulative(self.last, self.start, name="norm")(x, train))


def compare(last: int = 100, start: int = 0) -> parity.CompareReport:
    ports = bntorch.port(TorchNet(), loss=F.cross_entropy), bnjax.port(FlaxNet(last, start), loss=cross_entropy)
    return parity.compare(*ports, inputs=INPUTS, questions=("forced", "statistics"))


def test_an_average_over_all_batches_agrees() -> None:
    report = compare()
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)


@pytest.mark.parametrize(("last", "start"), [(2, 0), (1, 0), (100, 1)])
def test_one_that_counts_otherwise_is_found_and_no_momentum_is_accused(last: int, start: int) -> None:
    (finding,) = compare(last, start).findings
    assert (finding.kind, finding.reference) == (FindingKind.STATISTICS, "norm")
    assert finding.cause.name == UNEXPLAINED
