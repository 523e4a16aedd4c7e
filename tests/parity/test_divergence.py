"""How a trial ended, and which two learning rates bound the stable ones."""

import math
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parity.divergence import (
    BRACKET_RATIO,
    Status,
    bisect,
    classify,
    drive,
    final_loss,
    find_bracket,
    first_offense,
    geometric_mean,
)
from parity.divergence.bisection import bisection_tree
from parity.sweep.grid import Group
from parity.sweep.records import Trial

GROUP = Group("numpy", 1, False, 0)
LETTERS = {"T": Status.TRAINED, "S": Status.STUCK, "D": Status.DIVERGED, "E": Status.ERROR}

# Sums of these are exact, so that no test hangs on a rounding.
LOSSES = st.lists(
    st.sampled_from([0.5, 1.0, 10.0, 11.0, 200.0, math.nan, math.inf, -math.inf]), min_size=1, max_size=40
)
RUNS = st.lists(st.sampled_from([(1.0, 40), (10.0, 40), (16.0, 40), (math.nan, 1), (0.0, 3)]), max_size=3)


def offense(losses: Sequence[float], finite: Sequence[bool] | None = None) -> int | None:
    flags = np.ones(len(losses), bool) if finite is None else np.array(finite)
    return first_offense(np.array(losses), flags)


def trials(letters: str) -> list[Trial]:
    """One trial for each letter, at learning rates 1, 2, 4 and so on."""
    return [
        Trial(group=GROUP, learning_rate=2.0**i, status=LETTERS[letter], test_accuracy=0.5)
        for i, letter in enumerate(letters)
    ]


# first_offense


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 7, 25, 29])
def test_loss_that_is_not_finite_offends_at_its_update(bad: float, at: int) -> None:
    losses = [2.0] * 30
    losses[at] = bad
    assert offense(losses) == at


def test_weights_that_are_not_finite_offend_although_the_loss_is() -> None:
    assert offense([2.0] * 30, [t != 4 for t in range(30)]) == 4


def test_mean_of_20_losses_of_exactly_10_times_the_first_is_no_offense() -> None:
    assert offense([2.5, *[24.0, 26.0] * 20]) is None


def test_mean_of_20_losses_just_above_10_times_the_first_offends() -> None:
    assert offense([2.5, *[25.0] * 30, 25.5, *[25.0] * 30]) == 31


def test_window_ends_at_the_offending_update_and_is_20_long() -> None:
    # One loss of 400 lifts the mean of 20 above 10 only together with another, at most 19 updates later.
    def two_spikes(gap: int) -> list[float]:
        losses = [1.0] + [0.0] * 80
        losses[30] = losses[30 + gap] = 110.0
        return losses

    assert offense(two_spikes(19)) == 49
    assert offense(two_spikes(20)) is None


def test_fewer_than_20_updates_have_no_mean_to_offend() -> None:
    assert offense([1.0] + [1000.0] * 18) is None
    assert offense([1.0] + [1000.0] * 19) == 19


def test_second_infinite_loss_in_a_window_is_no_warning() -> None:
    assert offense([2.0, -math.inf, -math.inf] + [2.0] * 30) == 1


def test_losses_near_the_largest_float_are_no_warning() -> None:
    assert offense([2.0] + [1.7e308] * 30) == 19


@given(losses=LOSSES, runs=RUNS, broken=st.sets(st.integers(0, 200), max_size=2))
@example(losses=[1.0], runs=[(10.0, 40), (16.0, 40)], broken=set())
def test_offense_depends_on_the_updates_and_not_on_where_they_are_cut(
    losses: list[float], runs: list[tuple[float, int]], broken: set[int]
) -> None:
    losses = losses + [value for value, count in runs for _ in range(count)]
    finite = [t not in broken for t in range(len(losses))]
    expected = plain_offense(losses, finite)
    for cut in range(1, len(losses) + 1):
        seen = expected if expected is not None and expected < cut else None
        assert offense(losses[:cut], finite[:cut]) == seen


def plain_offense(losses: Sequence[float], finite: Sequence[bool]) -> int | None:
    """The rule of `first_offense`, update after update."""
    for t, loss in enumerate(losses):
        if not math.isfinite(loss) or not finite[t]:
            return t
        if t >= 19 and math.fsum(losses[t - 19 : t + 1]) / 20 > 10 * losses[0]:
            return t
    return None


# classify


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        ([19.0] * 150, Status.STUCK),  # 0.95 times 20, exactly
        ([*[19.0] * 149, 18.0], Status.TRAINED),
        ([*[100.0] * 50, *[18.0] * 100], Status.TRAINED),
        ([*[2.0] * 50, *[19.0] * 100], Status.STUCK),
        ([*[2.0] * 51, *[19.0] * 99], Status.TRAINED),
        ([18.0] * 5, Status.TRAINED),
        ([20.0] * 5, Status.STUCK),
        ([*[18.0] * 100, math.nan], Status.DIVERGED),
        ([1.0, *[18.0] * 100], Status.DIVERGED),
    ],
)
def test_status(losses: list[float], status: Status) -> None:
    assert classify(np.array(losses), np.ones(len(losses), bool), label_entropy=20.0) is status


def test_weights_that_are_not_finite_are_a_divergence() -> None:
    assert classify(np.ones(30), np.arange(30) != 29, label_entropy=20.0) is Status.DIVERGED


def test_final_loss_is_summed_in_float64() -> None:
    losses = np.array([2.0**24, 1.0, 1.0, 1.0], np.float32)  # float32 would lose each 1
    assert final_loss(losses) == (2.0**24 + 3) / 4


# find_bracket


@pytest.mark.parametrize(
    ("letters", "bracket"),
    [
        ("TTD", (2, 4)),
        ("TTS", (2, 4)),
        ("STS", (2, 4)),  # stuck below a trained rate has merely not learned yet
        ("SSTTSDD", (8, 16)),
        ("DTT", None),
        ("DTD", (2, 4)),
        ("TDTD", (1, 2)),
        ("TED", (1, 4)),  # a crash says nothing
        ("TETED", (4, 16)),
        ("TTE", None),
        ("TTT", None),
        ("SSS", None),
        ("SDD", None),
        ("EEE", None),
        ("", None),
    ],
)
def test_bracket_is_the_first_trained_rate_followed_by_a_failed_one(
    letters: str, bracket: tuple[float, float] | None
) -> None:
    in_any_order = trials(letters)
    random.Random(0).shuffle(in_any_order)
    assert find_bracket(in_any_order) == bracket


# bisect

Verdicts = Callable[[float], Status]
ENDINGS = st.functions(
    like=lambda rate: None, returns=st.sampled_from([Status.TRAINED, Status.STUCK, Status.DIVERGED]), pure=True
)
POPULATION_SIZES = st.sampled_from([1, 2, 3, 7, 8, 15])
LOWS = st.floats(1e-5, 10.0)
RATIOS = st.floats(1.01, 1e5)


class Trainer:
    """Trains by a given verdict, and remembers what it was asked for."""

    def __init__(self, verdict: Verdicts) -> None:
        self._verdict = verdict
        self.asked: list[list[float]] = []

    def __call__(self, rates: Sequence[float]) -> Mapping[float, Trial]:
        self.asked.append(list(rates))
        return {rate: Trial(group=GROUP, learning_rate=rate, status=self._verdict(rate)) for rate in rates}


def plain_bisection(low: float, high: float, verdict: Verdicts) -> list[float]:
    """One learning rate at a time."""
    path = []
    while high / low >= 1.1:
        path.append(geometric_mean(low, high))
        low, high = (path[-1], high) if verdict(path[-1]) is Status.TRAINED else (low, path[-1])
    return path


@given(low=LOWS, ratio=RATIOS, size=POPULATION_SIZES, verdict=ENDINGS)
def test_bisection_by_populations_visits_what_one_at_a_time_does(
    low: float, ratio: float, size: int, verdict: Verdicts
) -> None:
    train = Trainer(verdict)
    path = drive(bisect(low, low * ratio, size), train)
    assert [trial.learning_rate for trial in path] == plain_bisection(low, low * ratio, verdict)
    assert [trial.status for trial in path] == [verdict(trial.learning_rate) for trial in path]


@given(low=LOWS, ratio=RATIOS, size=POPULATION_SIZES, share=st.floats(0, 1))
def test_bisection_closes_in_on_a_monotone_boundary(low: float, ratio: float, size: int, share: float) -> None:
    high, edge = low * ratio, low * ratio**share
    path = drive(bisect(low, high, size), Trainer(lambda rate: Status.TRAINED if rate < edge else Status.DIVERGED))
    rates = [low, high, *(trial.learning_rate for trial in path)]
    largest_stable = max((rate for rate in rates if rate < edge), default=low)
    smallest_divergent = min((rate for rate in rates if rate >= edge and rate > low), default=high)
    assert smallest_divergent / largest_stable < 1.1


@given(low=LOWS, ratio=RATIOS, size=POPULATION_SIZES, verdict=ENDINGS)
def test_bisection_asks_for_each_rate_once_and_fills_its_populations(
    low: float, ratio: float, size: int, verdict: Verdicts
) -> None:
    train = Trainer(verdict)
    path = drive(bisect(low, low * ratio, size), train)
    asked = [rate for rates in train.asked for rate in rates]
    assert len(asked) == len(set(asked))
    assert all(1 <= len(rates) <= size for rates in train.asked)
    halvings_at_once = int(math.log2(size + 1))
    assert len(train.asked) == math.ceil(len(path) / halvings_at_once)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_crash_ends_a_bisection(size: int) -> None:
    def verdict(rate: float) -> Status:
        return Status.ERROR if rate > 30 else Status.TRAINED

    train = Trainer(verdict)
    path = drive(bisect(1.0, 100.0, size), train)
    assert [trial.status for trial in path] == [Status.TRAINED, Status.ERROR]  # 10, then 31.6
    assert len(train.asked) == (2 if size == 1 else 1)


@given(low=LOWS, ratio=RATIOS, size=st.integers(1, 40))
def test_tree_holds_whole_levels_of_distinct_rates_within_the_bracket(low: float, ratio: float, size: int) -> None:
    high = low * ratio
    tree = bisection_tree(low, high, size)
    assert all(low < rate < high for rate in tree)
    assert len(set(tree)) == len(tree) <= size
    if high / low >= 2:
        assert tree[0] == geometric_mean(low, high)
        assert size < 3 or tree[1:3] == [geometric_mean(low, tree[0]), geometric_mean(tree[0], high)]
    assert (not tree) == (high / low < BRACKET_RATIO)
