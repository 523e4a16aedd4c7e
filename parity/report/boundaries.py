"""The two boundaries that a sweep finds, by depth, batch norm and framework."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from parity.divergence import geometric_mean
from parity.sweep.records import Outcome, SweepReport, Threshold

MISSING = "not finished"


@dataclass(frozen=True)
class Boundary:
    """A boundary among the learning rates, which a sweep finds for each group.

    Args:
        name: in the middle of a sentence.
        value: of a group, as a number that can be ordered: infinity if it lies above the grid, 0 if there is none.
        none: what 0 means.
        meaning: for people.
    """

    name: str
    value: Callable[[Threshold], float]
    none: str
    meaning: str


def threshold_value(threshold: Threshold) -> float:
    """The divergent learning rate as a number that can be ordered: infinity if none failed, 0 if none trained."""
    if threshold.outcome is Outcome.BRACKETED and threshold.smallest_divergent is not None:
        return threshold.smallest_divergent
    return 0.0 if threshold.outcome is Outcome.NONE_TRAINED else math.inf


def useful_value(threshold: Threshold) -> float:
    """The largest useful learning rate, likewise: infinity if none failed and the largest that trained is useful."""
    if threshold.largest_useful is None:
        return 0.0
    is_last = threshold.outcome is Outcome.NONE_FAILED and threshold.largest_useful == threshold.largest_stable
    return math.inf if is_last else threshold.largest_useful


DIVERGENT = Boundary(
    "smallest divergent learning rate",
    threshold_value,
    "none trained",
    "training fails from here on: it diverges or, above a learning rate that trained, is stuck",
)
USEFUL = Boundary(
    "largest useful learning rate",
    useful_value,
    "none",
    "of the learning rates tried below the smallest that failed, the largest that gains at least half of what the best "
    "one does: its final loss is no higher than the middle between the best one's and the entropy of the labels",
)
BOUNDARIES = (DIVERGENT, USEFUL)


@dataclass(frozen=True)
class BoundaryCell:
    """A boundary of one framework at one depth, with or without batch norm, over its seeds; or a factor.

    Args:
        median: over seeds; None where there is no value.
        low: the smallest.
        high: the largest.
        text: all of it in words.
        brief: without the range.
    """

    median: float | None
    low: float | None
    high: float | None
    text: str
    brief: str


@dataclass(frozen=True)
class BoundaryRow:
    """One depth.

    Args:
        depth: number of hidden layers.
        cells: by framework in sorted order, without and with batch norm.
        factors: by framework: with over without batch norm, seed by seed; None where only one of the two was trained.
    """

    depth: int
    cells: dict[str, dict[bool, BoundaryCell]]
    factors: dict[str, BoundaryCell | None]

    def all_cells(self) -> Iterator[BoundaryCell]:
        """The cells after the depth, from left to right."""
        for name, cells in self.cells.items():
            yield from cells.values()
            if (factor := self.factors[name]) is not None:
                yield factor

    def texts(self) -> list[str]:
        """All of them in words."""
        return [cell.text for cell in self.all_cells()]


def median_rate(values: Iterable[float]) -> float:
    """The median on a log scale; of two middle values, one of which is 0 or infinite, the lower.

    Raises:
        ValueError: there are no values.

    >>> median_rate([4.0, 1.0])
    2.0
    >>> median_rate([0.5, math.inf])
    0.5
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a median needs at least one value, got none")
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    if low == high or not (low > 0 and math.isfinite(high)):
        return low
    return geometric_mean(low, high)


def rate_text(value: float, grid_high: float, none: str = DIVERGENT.none, digits: int = 3) -> str:
    """A learning rate in significant digits; `> 10` and `none trained` at the grid's ends."""
    if value == 0:
        return none
    return f"> {grid_high:.3g}" if math.isinf(value) else rounded(value, digits)


def rounded(value: float, digits: int) -> str:
    """Significant digits, trailing zeros kept (`1.00`), without an exponent where that is readable."""
    shown = f"{value:.{digits - 1}e}"
    if not 1e-4 <= value < 1e4:
        return shown
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(float(shown))))}f}"


def sorted_frameworks(report: SweepReport) -> list[str]:
    """The frameworks in the order of every table and figure."""
    return sorted(report.config.frameworks)


def boundary_table(report: SweepReport, boundary: Boundary = DIVERGENT) -> list[BoundaryRow]:
    """A boundary, one row for each depth.

    >>> from parity.sweep.grid import SweepConfig
    >>> config = SweepConfig(frameworks=("a",), depths=(1,))
    >>> empty = SweepReport(config=config, trials=(), thresholds=(), dataset="synthetic", label_entropy=2.3,
    ...                     environment={}, command="")
    >>> [(row.depth, row.texts()) for row in boundary_table(empty)]
    [(1, ['not finished', 'not finished', '–'])]
    """
    settings, rows = sorted(report.config.batch_norm), []
    for depth in sorted(report.config.depths):
        cells, factors = {}, {}
        for name in sorted_frameworks(report):
            values = {on: boundary_values(report, boundary, name, depth, on) for on in settings}
            cells[name] = {on: boundary_cell(list(values[on].values()), report, boundary) for on in settings}
            factors[name] = _factor(factors_of(values)) if len(settings) == 2 else None
        rows.append(BoundaryRow(depth, cells, factors))
    return rows


def boundary_values(report: SweepReport, boundary: Boundary, framework: str, depth: int, on: bool) -> dict[int, float]:
    """The boundary by seed."""
    key = framework, depth, on
    found = [t for t in report.thresholds if (t.group.framework, t.group.depth, t.group.batch_norm) == key]
    return {threshold.group.seed: boundary.value(threshold) for threshold in found}


def factors_of(values: dict[bool, dict[int, float]]) -> list[float]:
    """How many times as large a boundary is with batch norm, at each seed at which both are numbers."""
    without, with_norm = values[False], values[True]
    pairs = [(with_norm[seed], without[seed]) for seed in with_norm if seed in without]
    return [high / low for high, low in pairs if 0 < high < math.inf and 0 < low < math.inf]


def boundary_cell(values: Sequence[float], report: SweepReport, boundary: Boundary) -> BoundaryCell:
    """Values of a boundary, one for each seed, in words."""
    if not values:
        return BoundaryCell(None, None, None, MISSING, MISSING)
    # One seed decides no third digit: another one moves the boundary by more.
    digits = 3 if len(values) > 1 else 2

    def text_of(value: float) -> str:
        return rate_text(value, report.config.learning_rates.high, boundary.none, digits)

    median, low, high = median_rate(values), min(values), max(values)
    spread = f" ({text_of(low)} to {text_of(high)})" if low != high else ""
    missing = f" [{len(values)} of {report.config.num_seeds} seeds]" if len(values) < report.config.num_seeds else ""
    brief = text_of(median)
    return BoundaryCell(median, low, high, brief + spread + missing, brief + missing)


def _factor(factors: Sequence[float]) -> BoundaryCell:
    if not factors:
        return BoundaryCell(None, None, None, "\N{EN DASH}", "\N{EN DASH}")
    median, low, high = median_rate(factors), min(factors), max(factors)
    brief, ends = rounded(median, 2), f" ({rounded(low, 2)} to {rounded(high, 2)})"
    return BoundaryCell(median, low, high, brief + (ends if low != high else ""), brief)
