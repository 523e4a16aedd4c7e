"""The sheet that every figure is drawn on: header, notices, legend, panels, and the command in small print.

Sizes are in inches and set by hand: Matplotlib's automatic layouts know nothing of the header and the small print.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    width, panels = size
    columns, rows = _legend_shape([str(handle.get_label()) for handle in handles], width)
    setting = [plain(line) for line in textwrap.wrap(short(heading.setting, _LONGEST_TEXT), int(width * 14.5))]
    command = [
        plain(line) for line in textwrap.wrap(short(f"made by: {heading.command}", _LONGEST_TEXT), int(width * 18))
    ]
    head = 0.32 + _LINE * (len(setting) + 1.35 * len(heading.notices) + 0.8 * rows) + (0.25 if rows else 0.15)
    foot = _AXIS_LABEL + _SMALL_PRINT * len(command) + _EDGE
    height = head + panels + foot
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)

    def write(inches_from_top: float, text: str, **options: Any) -> None:
        figure.text(_EDGE / width, 1 - inches_from_top / height, text, va="top", **options)

    write(_EDGE, plain(short(title, _LONGEST_TITLE)), fontsize=12.5, fontweight="bold")
    write(_EDGE + 0.26, "\n".join(setting), fontsize=9, color="#333333", linespacing=1.3)
    top = _EDGE + 0.26 + _LINE * len(setting)
    for warning in heading.notices:
        box = {"facecolor": WARNING_COLOR, "edgecolor": "none", "boxstyle": "round,pad=0.25"}
        write(top + 0.06, f" {warning} ", fontsize=9.5, fontweight="bold", color="white", bbox=box)
        top += 1.35 * _LINE
    if rows:
        figure.legend(
            handles=handles, loc="upper left", ncols=columns,
            bbox_to_anchor=((_EDGE - 0.05) / width, 1 - (top + 0.02) / height),
            frameon=False, fontsize=8.5, handlelength=3.2, borderaxespad=0.4, labelspacing=0.35,
        )  # fmt: skip
    figure.text(_EDGE / width, _EDGE * 0.6 / height, "\n".join(command), va="bottom", fontsize=6.5,
                color="#555555", family="DejaVu Sans Mono")  # fmt: skip
    return Sheet(figure, left, foot, width - left - 0.25, panels)


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
