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
