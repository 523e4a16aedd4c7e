"""The times of a pair as text, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from parity.files import write_object
from parity.pair_bench.answers import answers, groups
from parity.pair_bench.records import PairBenchReport, PairRow

SCHEMA = 1
TERMS = {
    "µs": "microseconds for a batch; the median of the samples of two turns",
    "95% interval": "of the median, by bootstrap",
    "µs a sample": "the same over the samples of the batch",
    "threads": "how many cores it kept busy, on average",
    "memory": "most that a run needs beside the model, its inputs and the optimizer's state",
    "compiled in": "seconds until it was done for the first time, less what it takes afterwards",
    "paid after": "batches after which that is won back, against what runs without a compiler",
}
HEADER = ("side", "framework", "way", *TERMS)
SHORT_HEADER = ("", "µs", "95%", "µs/sample", "threads", "memory", "compile")
NOT_TIMED = "nothing was timed, since the two were not found to compute the same"


def print_report(report: PairBenchReport, console: Console) -> None:
    """Print whether it is to be trusted, the answers, and a table for each task and size of batch."""
    for doubt in report.doubts:
        console.out(f"NOT TO BE TRUSTED, the machine was not its own: {doubt}", highlight=False)
    if not report.complete:
        console.out("INTERRUPTED: what was done by then is shown.", highlight=False)
    console.out(f"{report.title}: {words_of_verdict(report)}", highlight=False)
    for question, text in answers(report):
        console.out(f"{question}: {text}", highlight=False)
    for name, rows in groups(report):
        console.out("")
        console.out(name, highlight=False)
        table = Table(*SHORT_HEADER, box=None, padding=(0, 1, 0, 0))
        for column in table.columns[1:]:
            column.justify, column.no_wrap = "right", True
        for number, row in enumerate(rows):
            side, framework, way, *numbers = cells(row)
            is_best = number == 0 and row.median_us is not None
            table.add_row(f"{side}, {framework} {way}", *numbers[:-1], style="bold" if is_best else None)
        console.print(table)
        for words, note in notes(rows):
            console.out(f"{words}: {note}", highlight=False)
    for words in report.not_compared:
        console.out(f"not compared: {words}", highlight=False)


def words_of_verdict(report: PairBenchReport) -> str:
    """Return what the forced pass said."""
    if not report.verdict:
        return "it was not yet known whether the two compute the same"
    if not report.agrees:
        return f"{NOT_TIMED}: the verdict is {report.verdict}; bnparity compare {report.config.pair} says why"
    return "the two compute the same, by the forced pass and the optimizers of compare in this run"


def notes(rows: list[PairRow]) -> Iterator[tuple[str, str]]:
    """Yield what is to be known of rows: why one has no time, or is not to be trusted."""
    for row in rows:
        if row.note or row.is_apart:
            yield f"{row.side} ({row.name}, {row.way})", row.note or "its two turns differ"


def cells(row: PairRow) -> tuple[str, ...]:
    """A row in words; what is not to be trusted has a question mark."""
    first = row.side, row.name, row.way
    if row.median_us is None or row.low_us is None or row.high_us is None:
        return *first, "none", *[""] * (len(TERMS) - 1)
    return (
        *first,
        _number(row.median_us) + ("?" if row.is_apart else ""),
        f"{_number(row.low_us)}-{_number(row.high_us)}",
        _number(row.median_us / row.batch_size),
        f"{row.threads or 0:.1f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f} MiB",
        "" if row.compile_s is None else f"{row.compile_s:.1f} s",
        "" if row.paid_after is None else f"{row.paid_after:,.0f}",
    )


def _number(microseconds: float) -> str:
    return f"{microseconds:.3g}" if microseconds < 100 else f"{microseconds:,.0f}"


def report_dict(report: PairBenchReport) -> dict[str, Any]:
    """The report as what JSON can hold."""
    return {
        "schema": SCHEMA,
        "title": report.title,
        "verdict": report.verdict or None,
        "not_compared": list(report.not_compared),
        "trusted": report.trusted,
        "doubts": list(report.doubts),
        "complete": report.complete,
        "answers": [{"question": question, "answer": text} for question, text in answers(report)],
        "rows": [{key: value for key, value in asdict(row).items() if key != "title"} for row in report.rows],
        "environment": dict(report.environment),
        "config": asdict(report.config),
        "command": report.command,
        "seconds": report.seconds,
    }


def write_json(report: PairBenchReport, path: Path) -> None:
    """Write the report as JSON, without NaN or Infinity.

    Raises:
        InputError: the place cannot be written.
    """
    write_object(report_dict(report), path)
