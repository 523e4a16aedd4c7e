"""What a sweep answers, in words: a sentence for each framework."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from parity.report.boundaries import (
    BOUNDARIES,
    DIVERGENT,
    Boundary,
    boundary_values,
    factors_of,
    rounded,
    sorted_frameworks,
)
from parity.report.style import batch_norm_words
from parity.sweep.records import SweepReport


def answers(report: SweepReport) -> list[str]:
    """What the sweep answers, a sentence for each framework."""
    return [f"{report.title(name)}: {words}" for name in sorted_frameworks(report) if (words := _answer(report, name))]


def _answer(report: SweepReport, framework: str) -> str:
    settings = sorted(report.config.batch_norm)
    if len(settings) == 2:
        effects = [(boundary, _effect(report, framework, boundary)) for boundary in BOUNDARIES]
        words = _joined([(boundary, *effect) for boundary, effect in effects if effect], " times as large")
    else:
        spans = [(boundary, _span(report, framework, boundary, settings[0])) for boundary in BOUNDARIES]
        words = _joined([(boundary, *span) for boundary, span in spans if span], "")
    found = [f"{batch_norm_words(settings[-1])} {words}"] if words else []
    return "; ".join([*found, *(each for on in settings for each in _beyond(report, framework, on))])


def _joined(found: Sequence[tuple[Boundary, str, list[int]]], unit: str) -> str:
    """What is said of the boundaries, as one part of a sentence, and the depths of all once if they are the same."""
    if not found:
        return ""
    same = len({tuple(depths) for _, _, depths in found}) == 1
    parts = []
    for index, (boundary, words, depths) in enumerate(found):
        at = f" ({depths_in_words(depths)})" if not same or index == len(found) - 1 else ""
        short = boundary.name.removesuffix(" learning rate")
        parts.append(
            f"the {short} {words}{unit.removesuffix(' as large')}{at}"
            if index
            else f"the {boundary.name} is {words}{unit}{at}"
        )
    return ", ".join(parts)


def _effect(report: SweepReport, framework: str, boundary: Boundary) -> tuple[str, list[int]] | None:
    """How many times as large a boundary is with batch norm: the range over seeds and depths, and these depths."""
    found: dict[int, list[float]] = {}
    for depth in sorted(report.config.depths):
        values = {on: boundary_values(report, boundary, framework, depth, on) for on in (False, True)}
        found[depth] = factors_of(values)
    return _range(found, lambda value: rounded(value, 2))


def _span(report: SweepReport, framework: str, boundary: Boundary, on: bool) -> tuple[str, list[int]] | None:
    """A boundary where it is a number: the range over seeds and depths, and these depths."""
    found = {depth: boundary_values(report, boundary, framework, depth, on) for depth in sorted(report.config.depths)}
    numbers = {depth: [v for v in values.values() if 0 < v < math.inf] for depth, values in found.items()}
    return _range(numbers, lambda value: rounded(value, 2))


def _range(found: dict[int, list[float]], words: Callable[[float], str]) -> tuple[str, list[int]] | None:
    every = [value for values in found.values() for value in values]
    if not every:
        return None
    low, high = words(min(every)), words(max(every))
    return low if low == high else f"{low} to {high}", [depth for depth, values in found.items() if values]


def _beyond(report: SweepReport, framework: str, on: bool) -> Iterator[str]:
    """The depths at which no learning rate of the grid trained, or none failed, at any seed."""
    high, passes = f"{report.config.learning_rates.high:.3g}", report.config.num_passes
    slow = f"nothing trained in {passes} pass{'es' if passes > 1 else ''}"
    for value, words in ((0.0, slow), (math.inf, f"nothing failed up to {high}")):
        found = {
            depth: boundary_values(report, DIVERGENT, framework, depth, on) for depth in sorted(report.config.depths)
        }
        depths = [depth for depth, values in found.items() if set(values.values()) == {value}]
        if depths:
            yield f"{batch_norm_words(on)} {words} at {depths_in_words(depths)}"


def depths_in_words(depths: Sequence[int]) -> str:
    """Depths, runs of them joined.

    >>> depths_in_words([1, 2, 3, 5, 10])
    'depths 1 to 3, 5, 10'
    """
    runs = [[depth for _, depth in run] for _, run in groupby(enumerate(depths), key=lambda pair: pair[1] - pair[0])]
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"depth{'s' if len(depths) > 1 else ''} {', '.join(words)}"
