"""The report of a benchmark as text."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from parity.bench.records import BenchReport, Row

HEADER = ("framework", "mode", "models", "µs", "95% interval", "× floor", "× lab's loop", "compiled in", "paid after")
SHORT_HEADER = ("", "models", "µs", "95%", "×floor", "×lab", "compile")


def print_report(report: BenchReport, console: Console) -> None:
    """Print a table for each case, and notes on it."""
    if not report.complete:
        console.out(f"INTERRUPTED: {report.cases_done} of {len(report.config.cases)} cases are done.")
    console.out("Microseconds per model-step: one SGD update of one model. Medians of the samples of two turns.")
    for case, rows in by_case(report):
        floor = next((row.floor_us for row in rows if row.floor_us is not None), None)
        console.out("")
        console.out(f"{case}" + (f"; floor {floor:.3g} µs" if floor else ""), highlight=False)
        table = Table(*SHORT_HEADER, box=None, padding=(0, 1, 0, 0))
        for column in table.columns[1:]:
            column.justify, column.no_wrap = "right", True
        for row in rows:
            framework, mode, *numbers = cells(row)
            table.add_row(f"{framework} {mode}", *numbers[:-1])
        console.print(table)
        for row in rows:
            if row.note:
                console.out(f"{row.framework} {row.mode}: {row.note}", highlight=False)
    for framework, operations in report.profiles.items():
        shares = ", ".join(f"{found.name} {found.share:.0%}" for found in operations)
        console.out(f"\nwhere the time of {framework}'s population goes: {shares}", highlight=False)


def by_case(report: BenchReport) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each case, in the order in which they were measured."""
    cases: dict[str, list[Row]] = {}
    for row in report.rows:
        cases.setdefault(str(row.case), []).append(row)
    yield from cases.items()


def cells(row: Row) -> tuple[str, ...]:
    """A row in words."""
    first = row.framework, row.mode.replace("_", " "), str(row.population)
    if row.median_us is None or row.low_us is None or row.high_us is None:
        return *first, "none", "", "", "", "", ""
    return (
        *first,
        _time(row.median_us),
        f"{_time(row.low_us)}-{_time(row.high_us)}",
        _number(row.ratio_to_floor, ".2f" if (row.ratio_to_floor or 0) < 10 else ".0f"),
        _number(row.ratio_to_lab_loop, ".2f" if (row.ratio_to_lab_loop or 0) < 10 else ".0f"),
        _number(row.compile_s, ".1f", " s"),
        _number(row.paid_after, ",.0f", " steps"),
    )


def _time(microseconds: float) -> str:
    return f"{microseconds:.1f}" if microseconds < 100 else f"{microseconds:.0f}"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
