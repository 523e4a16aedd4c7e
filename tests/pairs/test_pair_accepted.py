"""Differences that are accepted: known ones, played by the reference as well, and unexplained ones up to a size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import optax
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.pair.findings import FindingKind
from parity.pair.records import Mark
from parity.pair.screen import format_report
from parity.pair.self_test import Case, compare_specimen
from parity.report.compare_page import render_compare_page
from parity.verdict.verdict import UNEXPLAINED, Verdict

INPUTS = {"x": parity.normal(6, 4), "labels": parity.integers(6, below=3)}
ALL = ("forced", "free", "statistics", "optimizer", "precision")
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def smoothed(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(jax.nn.one_hot(labels, 3), 0.1)).mean()


def gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def bent(x: jax.Array) -> jax.Array:
    return gelu(x) + 1e-4 * x * x


def stopped(x: jax.Array) -> jax.Array:
    """As `bent`, and gives no gradient."""
    return jax.lax.stop_gradient(bent(x))


class Net(fnn.Module):
    activation: Callable[[jax.Array], jax.Array] = gelu
    epsilon: float = 1e-5
    features: int = 5

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.activation(fnn.Dense(self.features, name="first")(x))
        return fnn.Dense(3, name="head")(fnn.LayerNorm(epsilon=self.epsilon, name="norm")(x))


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(F.gelu(self.first(x))))


def compare(
    candidate: Any = None, loss: Loss = cross_entropy, momentum: float = 0.9, **options: Any
) -> parity.CompareReport:
    def sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, 0.1, momentum=0.9)

    ours = bntorch.port(TorchNet(), loss=F.cross_entropy, optimizer=sgd)
    theirs = bnjax.port(candidate or Net(), loss=loss, optimizer=optax.sgd(0.1, momentum=momentum))
    return parity.compare(ours, theirs, **{"inputs": INPUTS, "questions": ALL, **options})


@pytest.fixture
def baseline(tmp_path: Path) -> Callable[..., Path]:
    def write(**entry: Any) -> Path:
        path = tmp_path / "parity-baseline.toml"
        lines = (f"{key} = {value!r}" for key, value in {"reason": "it is meant", **entry}.items())
        path.write_text("\n".join(("[[accept]]", *lines)) + "\n")
        return path

    return write


# known ones


@pytest.mark.parametrize(
    ("name", "seen", "options"),
    [
        ("gelu_form", ["norm"], {"candidate": Net(jax.nn.gelu)}),
        ("norm_epsilon", ["norm"], {"candidate": Net(epsilon=1e-3)}),
        ("label_smoothing", ["the loss"], {"loss": smoothed}),
        ("optimizer_momentum", ["first", "norm", "head"], {"momentum": 0.8}),
    ],
)
def test_a_known_difference_is_accepted_in_all_that_is_asked(name: str, seen: list[str], options: Any) -> None:
    assert [f.cause.name for f in compare(**options).findings] == [name]
    report = compare(**options, accept=[name])
    assert report.verdict is Verdict.AGREE, report.findings
    assert [each["seen"] for each in report.accepted] == [seen]
    goes_on = [line for line in report.not_compared if line.startswith("the outputs with nothing replaced")]
    assert len(goes_on) == (name != "optimizer_momentum")


def test_an_update_is_accepted_only_where_it_is_said() -> None:
    report = compare(momentum=0.8, accept=["optimizer_momentum@head"])
    (finding,) = report.findings
    names = "first.weight, first.bias, norm.weight, norm.bias"
    assert (finding.kind, finding.value) == (FindingKind.UPDATE, f"the change of {names}")


def test_another_optimizer_is_not_accepted_with_it() -> None:
    report = compare(momentum=0.8, accept=["weight_decay"])
    assert [f.cause.name for f in report.findings] == ["optimizer_momentum", "accepted_difference_gone"]


def test_the_reason_stands_beside_what_is_accepted(baseline: Any) -> None:
    report = compare(Net(jax.nn.gelu), baseline=baseline(cause="gelu_form", place="no*"), questions=("forced",))
    assert report.verdict is Verdict.AGREE, report.findings
    assert report.as_json()["accepted"] == [
        {"name": "gelu_form", "place": "no*", "seen": ["norm"], "reason": "it is meant", "at_most": None}
    ]
    words = "gelu_form@no*, seen at norm (it is meant)"
    assert f"\naccepted: {words}\n" in format_report(report)
    assert f"<dd>{words}</dd>" in render_compare_page(report)


# unexplained ones

BETWEEN = "between first and norm"


def test_an_unexplained_difference_is_set_aside_up_to_its_size(baseline: Any) -> None:
    (finding,) = compare(Net(bent)).findings
    assert (finding.place, finding.cause.name) == (BETWEEN, UNEXPLAINED)
    assert finding.largest is not None
    assert finding.relative is not None
    assert 0 < finding.relative <= finding.largest < 1e-2
    report = compare(Net(bent), baseline=baseline(cause=UNEXPLAINED, place=BETWEEN, at_most=1.01 * finding.largest))
    assert report.verdict is Verdict.AGREE, report.findings
    assert [(each["seen"], each["at_most"]) for each in report.accepted] == [(["norm"], 1.01 * finding.largest)]
    assert [row.between for row in report.stretches if row.mark is Mark.DIFFERS] == [("first", "norm")]


def test_a_larger_one_is_a_finding_that_says_so(baseline: Any) -> None:
    path = baseline(cause=UNEXPLAINED, place=BETWEEN, at_most=1e-6)
    (finding,) = compare(Net(bent), baseline=path, questions=("forced",)).findings
    assert "it is accepted up to 1e-06 of its size, and the largest difference here is" in finding.cause.evidence


def test_a_gradient_that_is_cut_off_there_is_not_hidden(baseline: Any) -> None:
    path = baseline(cause=UNEXPLAINED, place=BETWEEN, at_most=1e-2)
    (finding,) = compare(Net(stopped), baseline=path, questions=("forced",)).findings
    assert finding.place == BETWEEN
    assert (finding.relative or 1) < 1e-2
    assert finding.largest == pytest.approx(1.0)


@pytest.mark.parametrize("place", ["norm", "first", "between norm and head", "head"])
def test_it_is_set_aside_at_its_own_place_alone(baseline: Any, place: str) -> None:
    path = baseline(cause=UNEXPLAINED, place=place, at_most=0.5)
    report = compare(Net(bent), baseline=path, questions=("forced",))
    assert [(f.place, f.cause.name) for f in report.findings] == [
        (BETWEEN, UNEXPLAINED),
        ("the model", "accepted_difference_gone"),
    ]


def test_another_fault_is_found_beside_it(baseline: Any) -> None:
    path = baseline(cause=UNEXPLAINED, place=BETWEEN, at_most=0.1)
    report = compare(Net(bent, epsilon=1e-3), baseline=path)
    assert [(f.place, f.cause.name) for f in report.findings] == [("norm", "norm_epsilon")]


def test_one_with_a_name_is_not_taken_for_an_unexplained_one(baseline: Any) -> None:
    path = baseline(cause=UNEXPLAINED, place=BETWEEN, at_most=0.5)
    report = compare(Net(jax.nn.gelu), baseline=path, questions=("forced",))
    assert [f.cause.name for f in report.findings] == ["gelu_form", "accepted_difference_gone"]


def test_a_tensor_that_is_missing_is_no_matter_of_size(baseline: Any) -> None:
    class NoBias(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = gelu(fnn.Dense(5, name="first", use_bias=False)(x))
            return fnn.Dense(3, name="head")(fnn.LayerNorm(epsilon=1e-5, name="norm")(x))

    path = baseline(cause=UNEXPLAINED, place="first", at_most=0.99)
    report = compare(NoBias(), baseline=path, questions=("forced",))
    assert (report.findings[0].kind, report.findings[0].reference) == (FindingKind.WEIGHTS, "first")


def test_running_statistics_are_not_set_aside(baseline: Any) -> None:
    """What is kept from step to step grows."""

    class Average(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array, train: bool) -> jax.Array:
            mean = self.variable("batch_stats", "mean", jnp.zeros, (4,))
            variance = self.variable("batch_stats", "var", jnp.ones, (4,))
            if train:
                own = x.mean(0), x.var(0)
                mean.value = 0.9 * mean.value + 0.1 * own[0]
                variance.value = 0.9 * variance.value + 0.1 * (own[1] * 6 / 5 + 1e-3 * own[0] ** 2)
            else:
                own = mean.value, variance.value
            return (x - own[0]) / jnp.sqrt(own[1] + 1e-5)

    class Whole(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array, train: bool) -> jax.Array:
            return Average(name="norm")(x, train)

    ours = nn.Sequential()
    ours.add_module("norm", nn.BatchNorm1d(4, affine=False))
    ports: tuple[Any, Any] = bntorch.port(ours), bnjax.port(Whole())
    path = baseline(cause=UNEXPLAINED, place="norm", at_most=0.5)
    report = parity.compare(
        *ports, inputs={"x": parity.normal(6, 4)}, baseline=path, questions=("forced", "statistics")
    )
    assert [f.kind for f in report.findings] == [FindingKind.STATISTICS, FindingKind.FORWARD], report.findings
    assert [f.cause.name for f in report.findings] == [UNEXPLAINED, "accepted_difference_gone"]


def test_a_difference_that_makes_numbers_larger_is_accepted_as_it_is_named() -> None:
    """What is predicted then has the rounding of its own size, and not of the reference's."""
    report = compare_specimen(Case(kind="functions", fault="mask_constant"), accept=("mask_constant",))
    assert report.verdict is Verdict.AGREE, report.findings
    assert [dict(each)["seen"] for each in report.accepted] == [["branches.mask_constant.head"]]
