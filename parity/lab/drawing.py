"""What the gallery's figures share."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from parity.report.canvas import Sheet, open_sheet
from parity.report.heading import Heading, data_notices
from parity.report.style import page_style, plain

# Okabe and Ito's, in an order in which neighbours differ in lightness too.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#7F3C66")
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
) -> Sheet:
    """A figure with everything but its panels, whose height is given in inches; `dataset` is its data, if it is one."""
    heading = Heading(f"data set: {dataset}, {setting}" if dataset else setting, command, tuple(data_notices(dataset)))
    with page_style():
        return open_sheet(heading, title, size=(width, height), handles=handles)


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
    """Panels side by side."""
    with page_style():
        width = (sheet.width - gap * (count - 1)) / count
        found = [sheet.axes(i * (width + gap), 0, width, sheet.height - 0.25) for i in range(count)]
        for axes, title in zip(found, titles, strict=False):
            axes.set_title(title, loc="left")
    return found
