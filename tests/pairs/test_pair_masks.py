"""Masks: numbers beside which no other has a size, and infinities; and what is no number."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import bnjax
import bntorch
import parity
from parity.pair.findings import FindingKind
from parity.pair.part import masks
from parity.pair.records import Mark
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(5, 6)}
LARGEST = float(np.finfo(np.float64).max)
MASKS = [-1e4, -1e9, float(np.finfo(np.float32).min), -LARGEST, -np.inf]


class TorchNet(nn.Module):
    """Attention's last steps: scores, of which some are masked, go through a softmax that is a module."""

    def __init__(self, mask: float) -> None:
        super().__init__()
        self.mask, self.scores, self.softmax, self.head = mask, nn.Linear(6, 7), nn.Softmax(-1), nn.Linear(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.scores(x)
        hidden = torch.arange(7) % 3 == 1
        return self.head(self.softmax(scores.masked_fill(hidden, self.mask)))


class Softmax(fnn.Module):
    """A module, so that the scores cross a boundary."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.softmax(x)


class FlaxNet(fnn.Module):
    """The same; `scale` is of the scores."""

    mask: float
    scale: float = 1.0

    def setup(self) -> None:
        self.scores, self.softmax, self.head = fnn.Dense(7), Softmax(), fnn.Dense(4)

    def __call__(self, x: jax.Array) -> jax.Array:
        scores = self.scale * self.scores(x)
        return self.head(self.softmax(jnp.where(jnp.arange(7) % 3 == 1, self.mask, scores)))


def compare(reference: nn.Module, candidate: fnn.Module, loss: bool = False) -> parity.CompareReport:
    losses: tuple[Any, Any] = (torch.mean, jnp.mean) if loss else (None, None)
    ports = bntorch.port(reference, loss=losses[0]), bnjax.port(candidate, loss=losses[1])
    return parity.compare(*ports, inputs=INPUTS, questions=("forced", "free"))


@pytest.mark.parametrize("mask", MASKS)
def test_the_same_mask_agrees(mask: float) -> None:
    report = compare(TorchNet(mask), FlaxNet(mask), loss=True)
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)
    assert report.sensitivity < 1e-12


@pytest.mark.parametrize("mask", MASKS)
def test_an_error_beside_a_mask_is_found(mask: float) -> None:
    report = compare(TorchNet(mask), FlaxNet(mask, scale=1 + 1e-9))
    assert [(each.kind, each.between, each.value) for each in report.findings] == [
        (FindingKind.FORWARD, ("scores", "softmax"), "softmax input[0][0]")
    ]


@pytest.mark.parametrize(("mask", "other"), [(-1e9, -1e10), (-1e9, -np.inf), (-np.inf, -LARGEST), (-np.inf, np.nan)])
def test_another_mask_is_a_finding_of_what_is_masked(mask: float, other: float) -> None:
    for pair in ((mask, other), (other, mask))[: 1 if np.isnan(other) else 2]:
        report = compare(TorchNet(pair[0]), FlaxNet(pair[1]))
        assert [(each.between, each.value) for each in report.findings] == [
            (("scores", "softmax"), "softmax input[0][0], where it is masked")
        ]


class TorchLog(nn.Module):
    """A module that makes no numbers of some."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 7), nn.Linear(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.log(self.first(x)))


class FlaxLog(fnn.Module):
    def setup(self) -> None:
        self.first, self.second = fnn.Dense(7), fnn.Dense(4)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(jnp.log(self.first(x)))


def test_where_the_reference_itself_gives_no_number_nothing_is_claimed() -> None:
    report = compare(TorchLog(), FlaxLog(), loss=True)
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    places = [line for line in report.not_compared if "NaN" in line]
    assert [line.partition(" in ")[0] for line in places] == ["second input[0][0]"] * 2  # the first, in both modes
    assert {each.path: each.mark for each in report.modules} == {
        "": Mark.NOT_COMPARED, "first": Mark.AGREES, "second": Mark.NOT_COMPARED
    }  # fmt: skip
    agreeing = {each.between for each in report.stretches if each.mark is Mark.AGREES}
    assert agreeing == {("", "first")}


def test_a_mask_in_an_input_is_not_moved() -> None:
    mask = np.where(np.arange(7) % 3 == 1, -np.inf, 0.0) * np.ones((5, 1))
    mask[0] = np.where(mask[0] < 0, -LARGEST, 0.0)

    class Torch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(6, 7)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.scores(x) + mask, -1)

    class Flax(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
            return jax.nn.softmax(fnn.Dense(7, name="scores")(x) + mask)

    ports = bntorch.port(Torch(), loss=torch.mean), bnjax.port(Flax(), loss=jnp.mean)
    report = parity.compare(*ports, inputs={**INPUTS, "mask": mask}, questions=("forced",))
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)


@pytest.mark.parametrize("mask", [*MASKS, np.nan])
def test_masks_are_found_among_values_of_any_share(mask: float) -> None:
    values = np.random.default_rng(0).normal(size=(8, 8))
    for share in (1, 10, 63):
        hidden = np.arange(64).reshape(8, 8) < share
        found = masks(np.where(hidden, mask, values))
        assert found is not None
        assert np.array_equal(found, hidden)


def test_large_values_that_are_no_mask_are_left_together() -> None:
    values = np.random.default_rng(0).normal(size=4096)
    for array in (values, 1e6 * values, np.exp(8 * values), np.zeros(3), np.array(5e9), np.full(4, 1e9), values[:0]):
        assert masks(array) is None
