"""How a series looks, so that it can be told apart in colour, in greyscale and by a colour-blind reader."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import RLock
from typing import Any

import matplotlib.style
from matplotlib.axis import Axis
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

# Okabe and Ito's colours, one pair for each framework: without batch norm, with it.
_PAIRS = (("#56B4E9", "#0072B2"), ("#E69F00", "#D55E00"), ("#009E73", "#000000"), ("#CC79A7", "#7F3C66"))
_MARKERS = ("o", "s", "^", "D", "v")
_DASHES = (((0, (5, 2)), "solid"), ((0, (1, 1.2)), (0, (7, 1.5, 1.5, 1.5))), ((0, (2, 4)), (0, (12, 3))))
WARNING_COLOR = "#B3261E"
REFERENCE_COLOR = "#6B6B6B"

_ONE_THREAD = RLock()
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "path.simplify_threshold": 0.5,  # pixels; a training's curve has a point for each update
}


@dataclass(frozen=True)
class SeriesStyle:
    """The look of one framework with or without batch norm."""

    label: str
    color: str
    marker: str
    dash: Any


@contextmanager
def page_style() -> Iterator[None]:
    """The style of every figure, whatever the caller's own settings are; they are put back afterwards.

    Matplotlib's settings are those of the whole process, so one thread draws at a time.
    """
    with _ONE_THREAD, matplotlib.style.context(_STYLE, after_reset=True):
        yield


def series_styles(
    frameworks: Iterable[str], batch_norm: Iterable[bool], title: Callable[[str], str] = str
) -> dict[tuple[str, bool], SeriesStyle]:
    """A look for every (framework, batch norm), given out in the frameworks' sorted order.

    Args:
        frameworks: by name.
        batch_norm: the settings.
        title: a framework's name for people.
    """
    settings = sorted(set(batch_norm))
    return {
        (name, on): SeriesStyle(
            label=f"{plain(short(title(name)))}, {batch_norm_words(on)}",
            color=_PAIRS[index % len(_PAIRS)][on],
            marker=_MARKERS[index % len(_MARKERS)],
            dash=_DASHES[index % len(_DASHES)][on],
        )
        for index, name in enumerate(sorted(set(frameworks)))
        for on in settings
    }


def batch_norm_words(on: bool) -> str:
    """`with batch norm` or `without batch norm`."""
    return "with batch norm" if on else "without batch norm"


@cache
def _drawable() -> frozenset[int]:
    fonts = (get_font(findfont(family)).get_charmap() for family in ("DejaVu Sans", "DejaVu Sans Mono"))
    return frozenset.intersection(*(frozenset(charmap) for charmap in fonts))


def plain(text: str) -> str:
    """Text that Matplotlib draws as it stands: no formulas, and a mark for each character the font lacks."""
    visible = "".join(char if ord(char) in _drawable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return visible.replace("$", r"\$")


def short(text: str, most: int = 40) -> str:
    """Text on one line that leaves room for others: the middle of a longer one is left out.

    >>> short("package.module:factory", 11)
    'packa…ctory'
    """
    line = " ".join(text.split())
    half = (most - 1) // 2
    return line if len(line) <= most else f"{line[:half]}…{line[-half:]}"


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks for a log axis, none outside `low` to `high`, written as plain numbers: 0.01, 1, 10."""
    ratio = high / low
    subs = (1.0,) if ratio > 50 else (1.0, 2.0, 5.0)
    locator = MaxNLocator(5) if ratio < 8 else LogLocator(subs=subs, numticks=8)
    slack = 1 + 1e-9
    axis.set_ticks([tick for tick in locator.tick_values(low, high) if low / slack <= tick <= high * slack])
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
