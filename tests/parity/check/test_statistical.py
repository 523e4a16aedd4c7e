"""Equivalence of trainings over many seeds: the test's error rates, its degenerate cases, and real faults."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, t

from parity.backend import Backend, Evaluation, Inputs, PassRecord, as_backend
from parity.check.config import CheckConfig
from parity.check.records import Equivalence, Setting
from parity.check.statistical import (
    ALPHA,
    MARGIN_SHARE,
    compare_paired,
    describe,
    seeds_needed,
    statistical,
    train_seed,
)
from parity.data import load_dataset
from parity.divergence import BRACKET_RATIO
from parity.inputs import prepare_inputs
from parity.reference import NumpyBackend
from parity.sides import ObjectSide, SideSpec
from parity.spec import ModelSpec, TrainSpec

NUMPY: Any = NumpyBackend()
SETTING = Setting(depth=1, batch_norm=True, seed=0, dtype="float32")
SPEC = ModelSpec(num_hidden_layers=1, hidden_width=8)
REPEATS = 2000
# How often a test of level ALPHA may err in that many repeats, but for one run in a million.
MOST_ERRORS = int(binom.ppf(1 - 1e-6, REPEATS, ALPHA))


@pytest.fixture(scope="module")
def data() -> Inputs:
    """The built-in data set, its test set cut short."""
    inputs = prepare_inputs(NUMPY, load_dataset("synthetic"), SPEC, TrainSpec())
    return replace(inputs, test_inputs=inputs.test_inputs[:500], test_labels=inputs.test_labels[:500])


def compare(candidate, reference, **options) -> Equivalence:
    """Two series of values by seed."""
    return compare_paired(SETTING, "final loss", np.array(candidate), np.array(reference), **options)


@pytest.mark.parametrize(("seeds", "noise"), [(6, 0.05), (12, 0.2), (12, 0.5), (40, 1.0)])
def test_error_rates_at_the_margin_are_at_most_alpha(seeds: int, noise: float) -> None:
    """The true difference is the margin itself, where both kinds of error are likeliest."""
    rng = np.random.default_rng(0)
    errors = {"equivalent": 0, "different": 0, "inconclusive": 0}
    for _ in range(REPEATS):
        reference = rng.standard_normal(seeds)
        margin = MARGIN_SHARE * reference.std(ddof=1)
        shift = rng.choice([-1, 1]) * margin
        errors[compare(reference + shift + noise * rng.standard_normal(seeds), reference).outcome] += 1
    assert errors["equivalent"] <= MOST_ERRORS
    assert errors["different"] <= MOST_ERRORS


def test_small_true_difference_is_found_equivalent_and_a_large_one_different() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(12)
    noise = 0.05 * rng.standard_normal(12)
    assert compare(reference + noise, reference).outcome == "equivalent"
    assert compare(reference + noise - 1, reference).outcome == "different"
    assert compare(reference + noise + 1, reference).outcome == "different"


def test_interval_and_margin_are_those_of_the_formula() -> None:
    found = compare([1.0, 3.0, 2.0], [0.0, 1.0, 2.0])
    deviation = 1.0  # of the differences 1, 2, 0, whose mean is 1
    half_width = t.ppf(0.95, 2) * deviation / math.sqrt(3)
    assert found.mean == 1
    assert (found.low, found.high) == pytest.approx((1 - half_width, 1 + half_width), rel=1e-14)
    assert found.margin == 0.5
    assert (found.outcome, found.seeds) == ("inconclusive", 3)


@pytest.mark.parametrize(("mean", "deviation", "margin"), [(0.1, 1.0, 0.5), (0.9, 1.0, 0.5), (-0.4, 0.3, 0.5)])
def test_seeds_needed_is_the_first_number_that_settles_it(mean: float, deviation: float, margin: float) -> None:
    needed = seeds_needed(mean, deviation, margin)
    assert needed is not None
    for seeds, settles in ((needed - 1, False), (needed, True)):
        # Values with exactly this mean and deviation, against a reference with exactly this margin.
        wave = np.where(np.arange(seeds) % 2, 1.0, -1.0)
        wave = (wave - wave.mean()) / wave.std(ddof=1)
        reference = wave * margin / MARGIN_SHARE
        assert (compare(reference + mean + deviation * wave, reference).outcome != "inconclusive") is settles


def test_no_number_of_seeds_settles_a_difference_on_the_margin() -> None:
    assert seeds_needed(0.5, 1.0, 0.5) is None
    assert seeds_needed(-0.5, 1.0, 0.5) is None


def test_same_values_are_equivalent_even_without_any_spread() -> None:
    found = compare([0.1, 0.1, 0.1], [0.1, 0.1, 0.1])
    assert (found.outcome, found.margin, found.low, found.high) == ("equivalent", 0, 0, 0)
    assert "the margin is 0" in found.note


def test_same_shift_at_every_seed_is_different_where_the_reference_has_no_spread() -> None:
    assert compare([0.2, 0.2, 0.2], [0.1, 0.1, 0.1]).outcome == "different"


def test_without_any_spread_varying_differences_settle_nothing() -> None:
    found = compare([0.1, 0.2, 0.0], [0.1, 0.1, 0.1])
    assert found.outcome == "inconclusive"
    assert "the margin is 0" in found.note


def test_margin_is_not_below_the_resolution() -> None:
    assert compare([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], resolution=0.05).margin == 0.05
    assert compare([0.2, 0.2, 0.2], [0.1, 0.1, 0.1], resolution=0.2).outcome == "equivalent"
    assert compare([0.0, 1.0], [0.0, 1.0], resolution=1e-3).margin == MARGIN_SHARE * math.sqrt(0.5)


def test_values_that_both_lack_say_nothing() -> None:
    kept = compare([0.1, 0.3, 0.2, np.inf], [0.1, 0.3, 0.2, np.inf])
    assert (kept.outcome, kept.seeds) == ("equivalent", 3)
    assert "at 3 of 4 seeds" in kept.note
    none = compare([np.inf] * 4, [np.inf] * 4)
    assert (none.outcome, none.seeds, none.seeds_needed) == ("inconclusive", 0, None)
    assert "at 0 of 4 seeds" in none.note


def test_one_pair_alone_settles_nothing() -> None:
    found = compare([0.1, np.inf], [0.1, np.inf])
    assert (found.outcome, found.seeds, found.seeds_needed) == ("inconclusive", 1, None)


def test_one_value_that_only_one_side_lacks_forbids_equivalence() -> None:
    found = compare([0.1, 0.3, 0.2, np.inf], [0.1, 0.3, 0.2, 0.2])
    assert found.outcome == "inconclusive"
    assert "only one of them at 1" in found.note


@pytest.mark.parametrize(("seeds", "outcome"), [(5, "inconclusive"), (6, "different")])
def test_candidate_that_always_diverges_is_different_once_chance_cannot_explain_it(seeds: int, outcome: str) -> None:
    # The exact test's p is 2 / 2**seeds: 0.0625 for 5 seeds, 0.03125 for 6.
    assert compare([np.inf] * seeds, [0.1 * k for k in range(seeds)]).outcome == outcome


def test_values_lacking_on_opposite_sides_of_the_grid_are_different() -> None:
    assert compare([np.inf] * 6, [-np.inf] * 6).outcome == "different"


def ask(candidate, reference, data: Inputs, seeds: int = 6) -> dict[str, Equivalence]:
    """The statistical question for a small network."""
    sides = [ObjectSide(SideSpec(target=target)) for target in (candidate, reference)]
    found = statistical(sides[0], sides[1], CheckConfig(statistical_seeds=seeds), data, SPEC, SETTING)
    return {equivalence.quantity: equivalence for equivalence in found}


def test_honest_framework_is_not_different(framework: Backend, data: Inputs) -> None:
    found = ask(framework, NUMPY, data, seeds=3)
    assert list(found) == ["final loss", "test accuracy", "divergent learning rate"]
    assert found["final loss"].outcome == "equivalent"
    assert "different" not in {equivalence.outcome for equivalence in found.values()}


def test_half_the_learning_rate_is_different(data: Inputs) -> None:
    found = ask(NUMPY.with_fault("scaled_learning_rate"), NUMPY, data)
    assert found["final loss"].outcome == "different"
    assert found["divergent learning rate"].outcome == "different"
    # Twice the rate is needed to break down; either end is known to the bisection's ratio.
    assert found["divergent learning rate"].mean == pytest.approx(math.log(2), abs=math.log(BRACKET_RATIO))


def test_backend_that_diverges_at_once_is_different(data: Inputs) -> None:
    found = ask(NUMPY.with_fault("scaled_learning_rate", factor=1e9), NUMPY, data)
    assert {name: equivalence.outcome for name, equivalence in found.items()} == dict.fromkeys(found, "different")
    assert not np.isfinite(found["divergent learning rate"].candidate).any()


@dataclass(frozen=True)
class LearnerOnly:
    """The reference without its population."""

    name = "learner_only"
    dtypes = ("float64",)

    def learner(self, spec, weights, dtype):
        return NUMPY.learner(spec, weights, dtype)


def test_backend_without_population_is_trained_one_rate_at_a_time(data: Inputs) -> None:
    learner_only = as_backend(LearnerOnly())
    alone, together = (train_seed(side, SPEC, data, 0, 32, 0.1, "float64") for side in (learner_only, NUMPY))
    # One layer is not chaotic: a free run stays within 1e-13, in whatever order its products are summed.
    assert alone == pytest.approx(together, rel=1e-9)


class BreaksAt:
    """A backend and its population: the loss is the learning rate, from 1.3 on infinite."""

    name = "breaks_at"
    dtypes = ("float32",)

    def learner(self, spec, weights, dtype):
        raise NotImplementedError("it trains populations only")

    def population(self, spec, weights, learning_rates, inputs, labels, dtype):
        self.rates = np.array(learning_rates)
        return self

    def run_pass(self, indices):
        losses = np.tile(np.where(self.rates < 1.3, self.rates, np.inf), (len(indices), 1))
        return PassRecord(losses=losses, finite=np.isfinite(losses))

    def evaluate(self, inputs, labels):
        return Evaluation(loss=self.rates, accuracy=1 - self.rates)


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_divergent_rate_is_bisected_and_the_others_are_at_the_asked_rate(data: Inputs, rate: float) -> None:
    side = as_backend(BreaksAt())
    loss, accuracy, divergent = train_seed(side, SPEC, data, 0, 32, rate, "float32")
    assert (loss, accuracy) == pytest.approx((rate, 1 - rate), rel=1e-12)
    # The middle of a bracket that holds 1.3 and is narrower than the ratio at which bisection ends.
    assert divergent == pytest.approx(math.log(1.3), abs=math.log(BRACKET_RATIO) / 2)


def test_seed_changes_weights_and_batches(data: Inputs) -> None:
    first, other = (train_seed(NUMPY, SPEC, data, seed, 32, 0.1, "float32") for seed in (0, 1))
    assert first[0] != other[0]
    assert train_seed(NUMPY, SPEC, data, 0, 32, 0.1, "float32") == first


def test_a_difference_is_told_without_nan() -> None:
    healthy, diverged = [0.5] * 12, [math.inf] * 12
    words = describe(compare(diverged, healthy))
    assert words.startswith("final loss: the candidate diverges at 12 of 12 seeds where the reference does not (")
    assert "nan" not in words
    assert "the reference diverges at 12 of 12 seeds" in describe(compare(healthy, diverged))
    assert describe(compare([0.9, 0.8, 1.0], [0.1, 0.2, 0.1])).startswith("final loss differs by 0.767, beyond")
