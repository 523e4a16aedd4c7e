"""The answer of a sweep on a terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from parity.report.boundaries import BOUNDARIES, Boundary, boundary_table, sorted_frameworks
from parity.report.style import batch_norm_words
from parity.report.sweep_answers import answers
from parity.sweep.records import SweepReport


def print_thresholds(report: SweepReport, console: Console) -> None:
    """Print the answer, and a table for each boundary; the ranges over seeds are left out where there is no room."""
    for sentence in answers(report):
        console.print(Text(sentence))
    state = "" if report.complete else ", INCOMPLETE"
    for boundary in BOUNDARIES:
        table, over = _table(report, boundary, "text"), "median over {} seeds (range)"
        if Measurement.get(console, console.options.update(max_width=10**4), table).maximum > console.width:
            table, over = _table(report, boundary, "brief"), "median over {} seeds (their ranges are in the report)"
        seeds = f", {over.format(report.config.num_seeds)}" if report.config.num_seeds > 1 else ""
        console.print(Text(f"{boundary.name[0].upper()}{boundary.name[1:]} on {report.dataset}{seeds}{state}"))
        console.print(table)


def _table(report: SweepReport, boundary: Boundary, what: str) -> Table:
    table = Table()
    table.add_column("depth", justify="right")
    for words in column_words(report):
        table.add_column(Text(words), justify="right")
    for row in boundary_table(report, boundary):
        table.add_row(str(row.depth), *(Text(getattr(cell, what)) for cell in row.all_cells()))
    return table


def column_words(report: SweepReport) -> Iterator[str]:
    """The columns of a boundary's table, after the depth."""
    settings = sorted(report.config.batch_norm)
    for name in sorted_frameworks(report):
        yield from (f"{report.title(name)}, {batch_norm_words(on)}" for on in settings)
        if len(settings) == 2:
            yield f"{report.title(name)}, factor"
