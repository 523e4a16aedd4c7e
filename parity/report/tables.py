"""The answer of a sweep in a table: the divergent learning rate by depth, batch norm and framework."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity.divergence import geometric_mean
from parity.sweep.records import Outcome, SweepReport, Threshold

MISSING = "not finished"


@dataclass(frozen=True)
class ThresholdCell:
    """The divergent learning rates of one framework over its seeds.

    A seed at which nothing failed counts as infinity, one at which nothing trained as 0.

    Args:
        median: over seeds; None where no seed has finished.
        low: the smallest.
        high: the largest.
        text: all of it in words.
    """

    median: float | None
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class ThresholdRow:
    """One depth with or without batch norm.

    Args:
        depth: number of hidden layers.
        batch_norm: whether they have batch norm.
        cells: by framework, in sorted order.
        ratio: the first framework's median over the second's; None unless there are two and both are numbers.
    """

    depth: int
    batch_norm: bool
    cells: dict[str, ThresholdCell]
    ratio: float | None


def threshold_value(threshold: Threshold) -> float:
    """The divergent learning rate as a number that can be ordered: infinity if none failed, 0 if none trained."""
    if threshold.outcome is Outcome.BRACKETED and threshold.smallest_divergent is not None:
        return threshold.smallest_divergent
    return 0.0 if threshold.outcome is Outcome.NONE_TRAINED else math.inf


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


def rate_text(value: float, grid_high: float) -> str:
    """A divergent learning rate in three significant digits; `> 10` and `none trained` at the grid's ends."""
    if value == 0:
        return "none trained"
    return f"> {grid_high:.3g}" if math.isinf(value) else _digits(value)


def _digits(value: float) -> str:
    """Three significant digits, trailing zeros kept (`1.00`), without an exponent where that is readable."""
    if not 1e-4 <= value < 1e4:
        return f"{value:.2e}"
    places = max(0, 2 - math.floor(math.log10(float(f"{value:.2e}"))))
    return f"{value:.{places}f}"


def _cell(thresholds: Sequence[Threshold], report: SweepReport) -> ThresholdCell:
    if not thresholds:
        return ThresholdCell(None, None, None, MISSING)
    values = [threshold_value(threshold) for threshold in thresholds]
    high_end = report.config.learning_rates.high
    median, low, high = median_rate(values), min(values), max(values)
    text = rate_text(median, high_end)
    if low != high:
        text += f" ({rate_text(low, high_end)} to {rate_text(high, high_end)})"
    if len(values) < report.config.num_seeds:
        text += f" [{len(values)} of {report.config.num_seeds} seeds]"
    return ThresholdCell(median, low, high, text)


def _ratio(cells: Sequence[ThresholdCell]) -> float | None:
    if len(cells) != 2:
        return None
    first, second = (cell.median for cell in cells)
    if not first or not second or math.isinf(first) or math.isinf(second):
        return None
    return first / second


def sorted_frameworks(report: SweepReport) -> list[str]:
    """The frameworks in the order of every table and figure."""
    return sorted(report.config.frameworks)


def threshold_table(report: SweepReport) -> list[ThresholdRow]:
    """The divergent learning rates, one row for each depth and setting of batch norm.

    >>> from parity.sweep.grid import SweepConfig
    >>> config = SweepConfig(frameworks=("a",), depths=(1,))
    >>> empty = SweepReport(config=config, trials=(), thresholds=(), dataset="synthetic", label_entropy=2.3,
    ...                     environment={}, command="")
    >>> [(row.depth, row.batch_norm, row.cells["a"].text) for row in threshold_table(empty)]
    [(1, False, 'not finished'), (1, True, 'not finished')]
    """
    found: dict[tuple[str, int, bool], list[Threshold]] = {}
    for threshold in report.thresholds:
        group = threshold.group
        found.setdefault((group.framework, group.depth, group.batch_norm), []).append(threshold)
    rows = []
    for depth in sorted(report.config.depths):
        for on in sorted(report.config.batch_norm):
            cells = {name: _cell(found.get((name, depth, on), []), report) for name in sorted_frameworks(report)}
            rows.append(ThresholdRow(depth, on, cells, _ratio(list(cells.values()))))
    return rows


def print_thresholds(report: SweepReport, console: Console) -> None:
    """Print the divergent learning rates, with the ratio between the frameworks where there are two."""
    frameworks = sorted_frameworks(report)
    seeds = report.config.num_seeds
    over = f", median over {seeds} seeds (range)" if seeds > 1 else ""
    state = "" if report.complete else ", INCOMPLETE"
    table = Table(title=Text(f"Smallest divergent learning rate on {report.dataset}{over}{state}"))
    table.add_column("depth", justify="right")
    table.add_column("batch norm")
    for name in frameworks:
        table.add_column(Text(name), justify="right")
    if len(frameworks) == 2:
        table.add_column(Text(" / ".join(frameworks)), justify="right")
    for row in threshold_table(report):
        cells = [Text(row.cells[name].text) for name in frameworks]
        ratio = [Text("" if row.ratio is None else f"{row.ratio:.2f}")] if len(frameworks) == 2 else []
        table.add_row(str(row.depth), "on" if row.batch_norm else "off", *cells, *ratio)
    console.print(table)
