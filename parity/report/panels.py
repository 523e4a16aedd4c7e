"""Panels by depth: pairs of axes, one above the other, in rows of at most four."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from parity.report.canvas import Sheet
from parity.report.style import log_ticks

COLUMNS = 4
_PANEL = 1.45  # height, in inches
_BETWEEN = 0.12  # a depth's panels
_ROW_GAP = 0.8  # depths above one another: room for a title and an axis label


@dataclass(frozen=True)
class PanelGrid:
    """How many depths stand side by side, and how high all of them are.

    Args:
        depths: one cell each.
        stack: panels in a cell, one above the other.
    """

    depths: Sequence[int]
    stack: int

    @property
    def columns(self) -> int:
        """Cells in a row."""
        return min(COLUMNS, len(self.depths))

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-len(self.depths) // self.columns)

    @property
    def cell_height(self) -> float:
        """Inches of one cell's panels."""
        return self.stack * _PANEL + (self.stack - 1) * _BETWEEN

    @property
    def height(self) -> float:
        """Inches of all panels, with the titles of the first row."""
        return self.rows * (self.cell_height + _ROW_GAP) - _ROW_GAP + 0.25

    def width(self, extra: float = 0.0) -> float:
        """A good width of the figure in inches: a single panel still leaves room for header and legend."""
        return max(7.5, 0.9 + 2.6 * self.columns + extra)

    def draw(self, sheet: Sheet, extra: float = 0.0) -> dict[int, list[Axes]]:
        """The axes of each depth, from top to bottom, titled; `extra` inches are left free at the right."""
        gap = 0.25
        width = (sheet.width - extra - gap * (self.columns - 1)) / self.columns
        cells: dict[int, list[Axes]] = {}
        for index, depth in enumerate(self.depths):
            row, column = divmod(index, self.columns)
            base = (self.rows - 1 - row) * (self.cell_height + _ROW_GAP)
            levels = [base + level * (_PANEL + _BETWEEN) for level in reversed(range(self.stack))]
            cells[depth] = [sheet.axes(column * (width + gap), level, width, _PANEL) for level in levels]
            cells[depth][0].set_title(f"depth {depth}", fontweight="bold", loc="left", pad=9)
            for axes in cells[depth]:
                axes.tick_params(labelsize=8, labelleft=column == 0)
            for axes in cells[depth][:-1]:
                axes.tick_params(labelbottom=False)
        return cells

    def is_first(self, depth: int) -> bool:
        """Whether a depth's panels stand at the left, where the vertical axes are labelled."""
        return self.depths.index(depth) % self.columns == 0


def learning_rate_axis(axes: Axes, low: float, high: float) -> None:
    """Make the horizontal axis the grid's learning rates, on a log scale, with a margin."""
    margin = (high / low) ** 0.04
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    log_ticks(axes.xaxis, low, high)
