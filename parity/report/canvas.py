"""The sheet that every figure is drawn on: legend and panels, and in a file of its own header, notices and command.

Sizes are in inches and set by hand: Matplotlib's automatic layouts know nothing of the header and the small print.
"""

import math
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parity.report.heading import Heading
from parity.report.style import WARNING_COLOR, plain, short

_LINE = 0.21  # inches for a line of text
_SMALL_PRINT = 0.13
_EDGE = 0.15
_AXIS_LABEL = 0.55  # below the panels
# Characters of text on a figure, whose size and time to draw grow with it; the page has all of it.
_LONGEST_TITLE, _LONGEST_TEXT = 120, 2000


@dataclass(frozen=True)
class Medium:
    """Where a figure is shown.

    Args:
        width: in inches, which no figure exceeds.
        is_file: whether it stands alone, so that title, setting, notices and command are drawn on it.
    """

    width: float = math.inf
    is_file: bool = True


FILE, WIDE_PAGE, NARROW_PAGE = Medium(), Medium(is_file=False), Medium(3.7, is_file=False)
_medium = ContextVar("medium", default=FILE)


@contextmanager
def drawn_for(medium: Medium) -> Iterator[None]:
    """Draw figures for a medium."""
    token = _medium.set(medium)
    try:
        yield
    finally:
        _medium.reset(token)


def room() -> float:
    """The width in inches that no figure exceeds where it is drawn for now."""
    return _medium.get().width


def is_narrow() -> bool:
    """Whether panels stand one above the other rather than side by side."""
    return room() < math.inf


class Drawing(Figure):
    """A figure that knows its words, and what its points say when they are pointed at."""

    title = ""
    heading = Heading("", "")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.said: dict[Artist, tuple[str, ...]] = {}


def say(artist: Artist, texts: Iterable[str]) -> None:
    """Let each point of a line, or cell of a mesh, tell its text when it is pointed at; with no texts it is silent."""
    figure = artist.get_figure(root=True)
    if isinstance(figure, Drawing):
        figure.said[artist] = tuple(texts)


@dataclass(frozen=True)
class Sheet:
    """A figure and the part of it that panels may fill, in inches from the lower left corner."""

    figure: Figure
    left: float
    bottom: float
    width: float
    height: float

    def axes(self, left: float, bottom: float, width: float, height: float, **options: Any) -> Axes:
        """New axes, placed in inches from the lower left corner of the part for panels."""
        full_width, full_height = self.figure.get_size_inches()
        return self.figure.add_axes(
            (
                (self.left + left) / full_width,
                (self.bottom + bottom) / full_height,
                width / full_width,
                height / full_height,
            ),
            **options,
        )


def open_sheet(
    heading: Heading, title: str, *, size: tuple[float, float], handles: Sequence[Any] = (), left: float = 0.75
) -> Sheet:
    """A figure with everything but its panels.

    Args:
        heading: the data set, the setting, the notices and the command.
        title: what the figure shows.
        size: width of the figure and height of the panels, in inches.
        handles: of the legend, which stands above the panels.
        left: inches to the left of the panels.
    """
    width, panels = min(size[0], room()), size[1]
    is_file = _medium.get().is_file
    setting = _wrapped(heading.setting, width * 14.5) if is_file else []
    command = _wrapped(f"made by: {without_places(heading.command)}", width * 18) if is_file else []
    notices = heading.notices if is_file else ()
    top = _EDGE + 0.26 + _LINE * len(setting) + 1.35 * _LINE * len(notices) if is_file else 0.0
    columns, rows = _legend_shape([str(handle.get_label()) for handle in handles], width)
    head = top + 0.8 * _LINE * rows + (0.16 if rows else 0.06)
    foot = _AXIS_LABEL + (_SMALL_PRINT * len(command) + _EDGE if is_file else 0.0)
    height = head + panels + foot
    figure = Drawing(figsize=(width, height), facecolor="white")
    figure.title, figure.heading = title, heading
    FigureCanvasAgg(figure)
    if rows:
        figure.legend(
            handles=handles, loc="upper left", ncols=columns,
            bbox_to_anchor=((_EDGE - 0.05) / width, 1 - (top + 0.02) / height),
            frameon=False, fontsize=8.5, handlelength=3.2, borderaxespad=0.4, labelspacing=0.35,
        )  # fmt: skip
    if is_file:
        _write_words(figure, title, setting, notices, command)
    return Sheet(figure, left, foot, width - left - 0.25, panels)


def without_places(command: str) -> str:
    """A command without the folders of its user's machine: of an absolute path the last part is left.

    >>> without_places("bnparity sweep --out /home/ada/runs/lab --depths 1")
    'bnparity sweep --out …/lab --depths 1'
    """
    try:
        words, quoted = shlex.split(command), shlex.quote
    except ValueError:  # it is no shell's
        words, quoted = command.split(), str
    shortened = [_without_folder(word) for word in words]
    if shortened == words:
        return command
    return " ".join(new if new != word else quoted(word) for word, new in zip(words, shortened, strict=True))


def _without_folder(word: str) -> str:
    """A word of a command, in which a path from the root, from home or from a folder above is its last part."""
    option, equals, place = word.partition("=") if word.startswith("-") else ("", "", word)
    module, colon, rest = place.partition(":")
    path = PurePath(place)
    if path.is_absolute() or path.parts[:1] in (("~",), ("..",)):
        place = f"…/{path.name}"
    elif colon and PurePath(rest).is_absolute():
        place = f"{module}:…/{PurePath(rest).name}"
    return f"{option}{equals}{place}"


def _wrapped(text: str, characters: float) -> list[str]:
    return [plain(line) for line in textwrap.wrap(short(text, _LONGEST_TEXT), int(characters))]


def _write_words(
    figure: Figure, title: str, setting: Sequence[str], notices: Sequence[str], command: Sequence[str]
) -> None:
    width, height = figure.get_size_inches()

    def write(inches_from_top: float, text: str, **options: Any) -> None:
        figure.text(_EDGE / width, 1 - inches_from_top / height, text, va="top", **options)

    write(_EDGE, plain(short(title, _LONGEST_TITLE)), fontsize=12.5, fontweight="bold")
    write(_EDGE + 0.26, "\n".join(setting), fontsize=9, color="#333333", linespacing=1.3)
    top = _EDGE + 0.26 + _LINE * len(setting)
    for warning in notices:
        box = {"facecolor": WARNING_COLOR, "edgecolor": "none", "boxstyle": "round,pad=0.25"}
        write(top + 0.06, f" {warning} ", fontsize=9.5, fontweight="bold", color="white", bbox=box)
        top += 1.35 * _LINE
    figure.text(_EDGE / width, _EDGE * 0.6 / height, "\n".join(command), va="bottom", fontsize=6.5,
                color="#555555", family="DejaVu Sans Mono")  # fmt: skip


def message_sheet(heading: Heading, title: str, message: str) -> Figure:
    """A figure that has nothing to draw and says so."""
    sheet = open_sheet(heading, title, size=(8.0, 1.5))
    sheet.figure.text(0.5, (sheet.bottom + 0.75) / sheet.figure.get_figheight(), message, ha="center", fontsize=13)
    return sheet.figure


def _legend_shape(labels: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of a legend that fits into the figure's width."""
    if not labels:
        return 1, 0
    entry = 0.7 + 0.064 * max(len(label) for label in labels)
    columns = max(1, min(len(labels), int((width - 0.3) / entry)))
    rows = -(-len(labels) // columns)
    return -(-len(labels) // rows), rows
