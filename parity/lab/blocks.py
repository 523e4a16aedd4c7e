"""What a part of the gallery is made of: text, tables, figures and code, in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from parity.backend import Listing


@dataclass(frozen=True)
class Text:
    """Markdown, with formulas in TeX between dollar signs. Every number in it is computed."""

    markdown: str


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: its anchor.
        caption: what it shows.
        header: names of its columns.
        rows: what stands in them.
        words: how many columns at its left are words; the others are numbers.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


@dataclass(frozen=True)
class Plot:
    """A figure.

    Args:
        name: its anchor, and its file's name without the ending.
        draw: makes it, as wide as where it is shown (`parity.report.canvas.Medium`).
        alt: what it shows, for a reader who cannot see it.
        caption: how to read it.
    """

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str


@dataclass(frozen=True)
class Code:
    """Code of every framework side by side, each with its output below.

    Args:
        name: its anchor.
        caption: what it shows.
        listings: by framework.
        stacked: one above another, because its lines are long.
    """

    name: str
    caption: str
    listings: Mapping[str, Listing]
    stacked: bool = False


Block = Text | Table | Plot | Code


@dataclass(frozen=True)
class Section:
    """A part of the gallery.

    Args:
        name: of its module.
        title: a heading.
        introduction: Markdown with formulas, and without a measured number: what is asked, and the theory.
        blocks: what was found.
    """

    name: str
    title: str
    introduction: str
    blocks: tuple[Block, ...]


Results = Mapping[str, Any]
"""What a part measured, by framework, whose name is as its makers write it."""


def furthest(results: Results, read: Any) -> float:
    """The largest difference between any two frameworks in what `read` takes from their results."""
    arrays = [np.asarray(read(result)) for result in results.values()]
    return max((float(np.abs(a - b).max()) for i, a in enumerate(arrays) for b in arrays[:i]), default=0.0)


def listed(words: Sequence[str]) -> str:
    """`a, b and c`.

    >>> listed(["jax", "torch"])
    'jax and torch'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words)


def extent(values: Any, form: str) -> str:
    """Where numbers lie, in words, each formatted as `form` says.

    >>> extent([1.02, 1.04], ".1f"), extent([0.5, 1.5], ".1f")
    ('are 1.0', 'lie between 0.5 and 1.5')
    """
    low, high = (format(float(end), form) for end in (np.min(values), np.max(values)))
    return f"are {low}" if low == high else f"lie between {low} and {high}"


def compared(results: Results, words: str) -> str:
    """What is said of a comparison of frameworks; nothing, where there is one alone.

    >>> compared({"jax": 1}, "The two agree. ")
    ''
    """
    return words if len(results) > 1 else ""


def lines_and_marks(results: Results, marks: str = "marks") -> str:
    """How to tell the frameworks in a figure that draws the first as lines and the others as marks.

    >>> lines_and_marks({"jax": 1, "torch": 2})
    'Lines are jax, marks torch. '
    """
    names = list(results)
    return compared(results, f"Lines are {names[0]}, {marks} {listed(names[1:])}. ")


def on_a_grid(value: float, grid: Sequence[float]) -> str:
    """A value of a rising grid, with a sign where it is an end: the best may lie beyond.

    >>> on_a_grid(0.1, (0.1, 1.0)), on_a_grid(1.0, (0.1, 1.0, 10.0))
    ('≤ 0.1', '1')
    """
    return ("≤ " if value == grid[0] else "≥ " if value == grid[-1] else "") + f"{value:.3g}"
