"""Panels in rows: each cell is one axes, or several above one another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from matplotlib.axes import Axes

from parity.report.canvas import Sheet, room
from parity.report.style import log_ticks

K = TypeVar("K")
_BETWEEN = 0.12  # a cell's panels
_EDGES = 0.9  # beside the panels


@dataclass(frozen=True)
class PanelGrid(Generic[K]):
    """How many cells stand side by side, and how high all of them are; sizes in inches.

    Args:
        keys: one cell each.
        title: of a cell, from its key.
        stack: panels in a cell, one above the other.
        most_columns: cells in a row, where there are that many.
        panel: width and height of a panel.
        row_gap: between cells above one another: room for a title and an axis label.
        head: above the first row, for its titles.
        foot: below the last row, beyond the room that every sheet has for an axis label.
    """

    keys: Sequence[K]
    title: Callable[[K], str]
    stack: int = 1
    most_columns: int = 4
    panel: tuple[float, float] = (2.6, 1.45)
    row_gap: float = 0.8
    head: float = 0.25
    foot: float = 0.0

    @property
    def columns(self) -> int:
        """Cells in a row: as many as there is room for."""
        return max(1, int(min(self.most_columns, len(self.keys), (room() - _EDGES) / self.panel[0])))

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-len(self.keys) // self.columns)

    @property
    def cell_height(self) -> float:
        """Inches of one cell's panels."""
        return self.stack * self.panel[1] + (self.stack - 1) * _BETWEEN

    @property
    def height(self) -> float:
        """Inches of all panels, with the titles of the first row."""
        return self.rows * (self.cell_height + self.row_gap) - self.row_gap + self.head + self.foot

    def width(self, extra: float = 0.0) -> float:
        """A good width of the figure in inches: a single panel still leaves room for header and legend."""
        return max(7.5, _EDGES + self.panel[0] * self.columns + extra)

    def draw(self, sheet: Sheet, extra: float = 0.0) -> dict[K, list[Axes]]:
        """The axes of each cell, from top to bottom, titled; `extra` inches are left free at the right."""
        gap = 0.25
        width = (sheet.width - extra - gap * (self.columns - 1)) / self.columns
        cells: dict[K, list[Axes]] = {}
        for index, key in enumerate(self.keys):
            row, column = divmod(index, self.columns)
            base = self.foot + (self.rows - 1 - row) * (self.cell_height + self.row_gap)
            levels = [base + level * (self.panel[1] + _BETWEEN) for level in reversed(range(self.stack))]
            cells[key] = [sheet.axes(column * (width + gap), level, width, self.panel[1]) for level in levels]
            cells[key][0].set_title(self.title(key), fontweight="bold", loc="left", pad=9)
            for axes in cells[key]:
                axes.tick_params(labelsize=8, labelleft=column == 0)
            for axes in cells[key][:-1]:
                axes.tick_params(labelbottom=False)
        return cells

    def is_first(self, key: K) -> bool:
        """Whether a cell's panels stand at the left, where the vertical axes are labelled."""
        return self.keys.index(key) % self.columns == 0


def depth_words(depth: int) -> str:
    """The title of a depth's cell."""
    return f"depth {depth}"


def learning_rate_axis(axes: Axes, low: float, high: float) -> None:
    """Make the horizontal axis the grid's learning rates, on a log scale, with a margin."""
    margin = (high / low) ** 0.04
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    log_ticks(axes.xaxis, low, high)
