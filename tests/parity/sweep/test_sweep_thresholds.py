"""Which two learning rates bound the stable ones of a group."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.divergence import Status
from parity.sweep.grid import Group
from parity.sweep.records import Outcome, Trial
from parity.sweep.thresholds import find_threshold

GROUP = Group("numpy", 1, False, 0)
ENTROPY = 2.3
LETTERS = {"T": Status.TRAINED, "S": Status.STUCK, "D": Status.DIVERGED, "E": Status.ERROR}


def trials(letters: str) -> list[Trial]:
    """One trial for each letter, at learning rates 1, 2, 4 and so on."""
    return [
        Trial(group=GROUP, learning_rate=2.0**i, status=LETTERS[letter], test_accuracy=0.5)
        for i, letter in enumerate(letters)
    ]


@pytest.mark.parametrize("letters", ["", "E", "EEE"])
def test_group_of_crashes_has_no_threshold(letters: str) -> None:
    assert find_threshold(GROUP, trials(letters), ENTROPY) is None


@pytest.mark.parametrize(
    ("letters", "outcome", "low", "high", "survivors"),
    [
        ("TTD", Outcome.BRACKETED, 2, 4, 0),
        ("STSS", Outcome.BRACKETED, 2, 4, 0),
        ("TDTDT", Outcome.BRACKETED, 1, 2, 2),
        ("TEDT", Outcome.BRACKETED, 1, 4, 1),
        ("STT", Outcome.NONE_FAILED, 4, None, 0),
        ("DTT", Outcome.NONE_FAILED, 4, None, 0),
        ("TTE", Outcome.NONE_FAILED, 2, None, 0),
        ("SSD", Outcome.NONE_TRAINED, None, None, 0),
        ("ES", Outcome.NONE_TRAINED, None, None, 0),
    ],
)
def test_threshold(letters: str, outcome: Outcome, low: float | None, high: float | None, survivors: int) -> None:
    threshold = find_threshold(GROUP, trials(letters), ENTROPY)
    assert threshold is not None
    assert threshold.group == GROUP
    assert threshold.outcome is outcome
    assert (threshold.largest_stable, threshold.smallest_divergent) == (low, high)
    assert threshold.survivors_above == survivors


def test_best_rate_is_that_of_the_highest_accuracy_among_the_trained() -> None:
    accuracies = zip("TTSTD", (0.5, 0.75, 0.9, 0.6, 1.0), strict=True)
    found = [
        Trial(group=GROUP, learning_rate=float(i), status=LETTERS[letter], test_accuracy=accuracy)
        for i, (letter, accuracy) in enumerate(accuracies, start=1)
    ]
    threshold = find_threshold(GROUP, found, ENTROPY)
    assert threshold is not None
    assert (threshold.best_learning_rate, threshold.best_test_accuracy) == (2.0, 0.75)


@pytest.mark.parametrize("order", [1, -1])
def test_best_rate_ties_to_the_smaller(order: int) -> None:
    threshold = find_threshold(GROUP, trials("STTTD")[::order], ENTROPY)
    assert threshold is not None
    assert threshold.best_learning_rate == 2.0


def test_group_where_nothing_trained_has_no_best_rate() -> None:
    threshold = find_threshold(GROUP, trials("SDD"), ENTROPY)
    assert threshold is not None
    assert (threshold.best_learning_rate, threshold.best_test_accuracy) == (None, None)


@pytest.mark.parametrize(
    ("letters", "losses", "accuracies", "expected"),
    [
        ("TTTTD", (0.9, 0.5, 1.4, 1.41, 9), (0.7, 0.8, 0.6, 0.2, 0), 4),  # the middle of 0.5 and 2.3 is useful still
        ("TTTT", (0.9, 0.5, 1.0, 1.2), (0.7, 0.8, 0.6, 0.5), 8),  # nothing failed
        ("TTDT", (0.9, 0.5, 9, 0.6), (0.7, 0.8, 0, 0.7), 2),  # what trains above a failure is not asked for
        ("TDT", (2.0, 9, 0.1), (0.3, 0, 0.9), None),  # and the best may be one of them
        ("SSD", (2.3, 2.3, 9), (0.1, 0.1, 0), None),
    ],
)
def test_the_largest_useful_rate_keeps_half_of_what_the_best_gains(
    letters: str, losses: tuple[float, ...], accuracies: tuple[float, ...], expected: float | None
) -> None:
    found = [
        replace(trial, final_loss=None if trial.status is Status.DIVERGED else loss, test_accuracy=accuracy)
        for trial, loss, accuracy in zip(trials(letters), losses, accuracies, strict=True)
    ]
    threshold = find_threshold(GROUP, found[::-1], ENTROPY)
    assert threshold is not None
    assert threshold.largest_useful == expected


@given(st.text("TSDE", max_size=12), st.randoms(use_true_random=False))
def test_threshold_is_the_first_adjacent_pair_of_the_sorted_trials(letters: str, shuffler: random.Random) -> None:
    found = trials(letters)
    shuffler.shuffle(found)
    said = sorted((t for t in found if t.status is not Status.ERROR), key=lambda t: t.learning_rate)
    pairs = [
        (a.learning_rate, b.learning_rate)
        for a, b in pairwise(said)
        if a.status is Status.TRAINED and b.status in (Status.STUCK, Status.DIVERGED)
    ]
    threshold = find_threshold(GROUP, found, ENTROPY)
    bracketed = threshold is not None and threshold.outcome is Outcome.BRACKETED
    assert bracketed == bool(pairs)
    if threshold is not None and pairs:
        assert (threshold.largest_stable, threshold.smallest_divergent) == pairs[0]
