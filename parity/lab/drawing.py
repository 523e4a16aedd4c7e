"""What the gallery's figures share."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from parity.report.canvas import Sheet, open_sheet
from parity.report.heading import Heading
from parity.report.style import page_style

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
    notices: tuple[str, ...] = (),
) -> Sheet:
    """A figure with everything but its panels, whose height is given in inches."""
    with page_style():
        return open_sheet(Heading(setting, command, notices), title, size=(width, height), handles=handles)


def panels(sheet: Sheet, count: int, titles: Sequence[str] = (), gap: float = 0.75) -> list[Axes]:
    """Panels side by side."""
    with page_style():
        width = (sheet.width - gap * (count - 1)) / count
        found = [sheet.axes(i * (width + gap), 0, width, sheet.height - 0.25) for i in range(count)]
        for axes, title in zip(found, titles, strict=False):
            axes.set_title(title, loc="left")
    return found
