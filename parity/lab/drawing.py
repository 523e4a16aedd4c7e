"""What the gallery's figures share."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from parity.report.canvas import Sheet, is_narrow, open_sheet
from parity.report.heading import Heading, data_notices
from parity.report.style import page_style, plain, short

# Okabe and Ito's, in an order in which neighbours differ in lightness too.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#7F3C66")
_ROW_GAP = 0.55  # inches between panels one above the other, for the label of an axis
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def lab_sheet(
    title: str,
    setting: str,
    command: str,
    height: float,
    handles: Sequence[Any] = (),
    *,
    width: float = 8.5,
    dataset: str = "",
    columns: int = 1,
) -> Sheet:
    """A figure with everything but its panels.

    Args:
        title: what it shows.
        setting: what was run.
        command: what made it.
        height: of the panels, in inches.
        handles: of the legend.
        width: in inches, where there is room.
        dataset: its data, if it is a data set.
        columns: how many panels stand side by side, and in a narrow figure one above the other; see `panels`.
    """
    heading = Heading(f"data set: {dataset}, {setting}" if dataset else setting, command, tuple(data_notices(dataset)))
    with page_style():
        rows = columns if is_narrow() else 1
        return open_sheet(heading, title, size=(width, rows * height + (rows - 1) * _ROW_GAP), handles=handles)


def framework_handles(names: Sequence[str], hollow: bool = False) -> list[Line2D]:
    """The legend of figures that draw the first framework as lines and the others as marks; nothing for one alone.

    Args:
        names: of the frameworks.
        hollow: whether the marks are open.
    """
    looks: list[Any] = [
        {},
        *(
            {"marker": marker, "linestyle": "none", "markerfacecolor": "none" if hollow else "#444444"}
            for marker in MARKERS[1:]
        ),
    ]
    found = [
        Line2D([], [], color="#444444", label=plain(name), **look) for name, look in zip(names, looks, strict=False)
    ]
    return found if len(found) > 1 else []


def panels(sheet: Sheet, count: int, titles: Sequence[str] = (), gap: float = 0.75) -> list[Axes]:
    """Panels side by side, in a narrow figure one above the other."""
    with page_style():
        columns, rows = (1, count) if is_narrow() else (count, 1)
        width = (sheet.width - gap * (columns - 1)) / columns
        height = (sheet.height - _ROW_GAP * (rows - 1)) / rows
        places = [(0, rows - 1 - i) if rows > 1 else (i, 0) for i in range(count)]
        found = [
            sheet.axes(column * (width + gap), row * (height + _ROW_GAP), width, height - 0.25)
            for column, row in places
        ]
        for axes, title in zip(found, titles, strict=False):
            axes.set_title(short(title, 44 if is_narrow() else 99), loc="left", fontsize=9 if is_narrow() else 10)
    return found
