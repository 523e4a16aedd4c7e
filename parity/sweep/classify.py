"""How a trial ended, and where between two learning rates training breaks down."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parity.sweep.grid import Group, geometric_mean
from parity.sweep.records import Outcome, Status, Threshold, Trial

EXPLOSION_WINDOW = 20  # consecutive updates
EXPLOSION_FACTOR = 10.0  # times the first update's loss
FINAL_WINDOW = 100  # updates
STUCK_FACTOR = 0.95  # times the entropy of the training labels
BRACKET_RATIO = 1.1  # bisection ends below it


def first_offense(losses: NDArray[np.floating], finite: NDArray[np.bool_]) -> int | None:
    """The first update at which a run diverges, or None.

    Update `t` offends if its loss, or a weight or statistic after it, is not finite, or if the mean loss of updates
    `t - 19` to `t` is above 10 times the loss of update 0. It depends on the updates alone, not on how they were
    chunked.

    Args:
        losses: training loss of each update, shape (updates,).
        finite: whether all weights and statistics were finite after each update, shape (updates,).
    """
    offends = ~(np.isfinite(losses) & finite)
    if len(losses) >= EXPLOSION_WINDOW:
        # The sum of the finite ones: a loss that is not finite offends by itself, before any window that holds it.
        summands = np.where(np.isfinite(losses), losses, 0.0).astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(summands, EXPLOSION_WINDOW)
        with np.errstate(over="ignore"):  # a sum of losses near the largest float is infinite, and offends
            offends[EXPLOSION_WINDOW - 1 :] |= windows.mean(axis=1) > EXPLOSION_FACTOR * float(losses[0])
    return int(offends.argmax()) if offends.any() else None


def final_loss(losses: NDArray[np.floating]) -> float:
    """Mean loss of the last 100 updates (of all, if there are fewer)."""
    return float(losses[-FINAL_WINDOW:].mean(dtype=np.float64))


def stuck_loss(label_entropy: float) -> float:
    """The final loss from which a finite run counts as stuck: 0.95 times the entropy of the labels, in nats."""
    return STUCK_FACTOR * label_entropy


def classify(losses: NDArray[np.floating], finite: NDArray[np.bool_], label_entropy: float) -> Status:
    """`diverged` if an update offends, `stuck` if the final loss is not below 0.95 `label_entropy`, else `trained`."""
    if first_offense(losses, finite) is not None:
        return Status.DIVERGED
    return Status.TRAINED if final_loss(losses) < stuck_loss(label_entropy) else Status.STUCK


def find_bracket(trials: Iterable[Trial]) -> tuple[float, float] | None:
    """The first adjacent pair of learning rates (trained, failed), or None.

    A learning rate fails if it diverged, or is stuck above one that trained: without batch norm a network that blew
    up usually ends with all units dead, finite at the loss of a network that ignores its input. Crashed trials say
    nothing and are passed over.
    """
    rates = [(t.learning_rate, t.status) for t in trials if t.status is not Status.ERROR]
    rates.sort()
    for (low, status), (high, next_status) in pairwise(rates):
        if status is Status.TRAINED and next_status is not Status.TRAINED:
            return low, high
    return None


def bisection_tree(low: float, high: float, count: int) -> list[float]:
    """Up to `count` learning rates that a bisection of `low` to `high` can visit next, nearest first.

    Level by level: the middle, then the middles of both halves, and so on, where the interval still needs halving.
    Whole levels only, since a level in part would decide nothing more.
    """
    tree: list[float] = []
    level = [(low, high)]
    while True:
        level = [(a, b) for a, b in level if b / a >= BRACKET_RATIO]
        if not level or len(tree) + len(level) > count:
            return tree
        middles = [geometric_mean(a, b) for a, b in level]
        tree += middles
        level = [half for (a, b), m in zip(level, middles, strict=True) for half in ((a, m), (m, b))]


Search = Generator[Sequence[float], Mapping[float, Trial], list[Trial]]
"""Yields the learning rates that it needs next, is sent their trials, and returns those that count."""


def drive(search: Search, run: Callable[[Sequence[float]], Mapping[float, Trial]]) -> list[Trial]:
    """What a search returns when its learning rates are trained by `run`."""
    try:
        wanted = next(search)
        while True:
            wanted = search.send(run(wanted))
    except StopIteration as stop:
        return stop.value


def bisect(low: float, high: float, count: int) -> Search:
    """Halve a bracket geometrically until `high / low` is below 1.1.

    Trials are cheaper together, so it asks for every learning rate that the next few halvings can need. Those off the
    path are not returned: the result is that of halving one at a time.

    Args:
        low: a learning rate that trained.
        high: one that failed.
        count: the most trials at once; at least 1.

    Yields:
        Learning rates. The trials at them are to be sent back.

    Returns:
        The trials on the path. A crashed trial ends it.
    """
    path: list[Trial] = []
    while high / low >= BRACKET_RATIO:
        trials = yield bisection_tree(low, high, count)
        while high / low >= BRACKET_RATIO and (middle := geometric_mean(low, high)) in trials:
            path.append(trials[middle])
            if path[-1].status is Status.ERROR:
                return path
            if path[-1].status is Status.TRAINED:
                low = middle
            else:
                high = middle
    return path


def find_threshold(group: Group, trials: Sequence[Trial]) -> Threshold | None:
    """The threshold of a group from all of its trials; None if every one crashed."""
    trials = [t for t in trials if t.status is not Status.ERROR]
    trained = [t for t in trials if t.status is Status.TRAINED]
    if not trials:
        return None
    if not trained:
        return Threshold(group=group, outcome=Outcome.NONE_TRAINED)
    best = max(trained, key=lambda t: (np.nan_to_num(t.test_accuracy or 0.0), -t.learning_rate))
    bracket = find_bracket(trials)
    low, high = bracket or (max(t.learning_rate for t in trained), None)
    return Threshold(
        group=group,
        outcome=Outcome.BRACKETED if bracket else Outcome.NONE_FAILED,
        largest_stable=low,
        smallest_divergent=high,
        survivors_above=sum(t.learning_rate > low for t in trained),
        best_learning_rate=best.learning_rate,
        best_test_accuracy=best.test_accuracy,
    )
