"""Find the learning rate at which training breaks down, by bisection."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from parity.divergence.learning_rates import geometric_mean
from parity.divergence.status import Status

BRACKET_RATIO = 1.1  # bisection ends below it


class Ended(Protocol):
    """A training that has ended."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def status(self) -> Status: ...


TrialT = TypeVar("TrialT", bound=Ended)
WantedT = TypeVar("WantedT")
FoundT = TypeVar("FoundT")
ResultT = TypeVar("ResultT")


def find_bracket(trials: Iterable[Ended]) -> tuple[float, float] | None:
    """Return the first adjacent pair of learning rates (trained, failed), or None.

    A learning rate fails if it diverged, or is stuck above one that trained: without batch norm a network that blew
    up usually ends with all units dead, finite at the loss of a network that ignores its input. Crashed trials are
    ignored: they say nothing about the learning rate.
    """
    rates = [(t.learning_rate, t.status) for t in trials if t.status is not Status.ERROR]
    rates.sort()
    for (low, status), (high, next_status) in pairwise(rates):
        if status is Status.TRAINED and next_status is not Status.TRAINED:
            return low, high
    return None


def bisection_tree(low: float, high: float, count: int) -> list[float]:
    """Return up to `count` learning rates that a bisection of `low` to `high` can visit next, nearest first.

    Level by level: the middle, then the middles of both halves, and so on, where the interval still needs halving.
    Only whole levels: part of a level would decide nothing more.
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


Search = Generator[Sequence[float], Mapping[float, TrialT], list[TrialT]]
"""Yields the learning rates that it needs next, receives their trials, and returns those that count."""


def drive(search: Generator[WantedT, FoundT, ResultT], run: Callable[[WantedT], FoundT]) -> ResultT:
    """Return the result of a search, training what it asks for by `run`."""
    try:
        wanted = next(search)
        while True:
            wanted = search.send(run(wanted))
    except StopIteration as stop:
        return stop.value


def bisect(low: float, high: float, count: int) -> Search[TrialT]:
    """Halve a bracket geometrically until `high / low` is below 1.1.

    Trials are cheaper together, so this asks for every learning rate that the next few halvings can need. It returns
    only the trials on the path: the result is that of halving one at a time.

    Args:
        low: a learning rate that trained.
        high: one that failed.
        count: largest number of trials at once; at least 1.

    Yields:
        Learning rates; send back their trials.

    Returns:
        The trials on the path. A crashed trial ends it.
    """
    path: list[TrialT] = []
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
