"""Estimates as text, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from parity.estimate.records import EstimateReport, EstimateRow
from parity.files import write_object

SCHEMA = 1
TERMS = {
    "models": "that one run of the program has on each chip; for a pass, whose length is known only when it runs, "
    "see one update",
    "per": "what the figures to the right are for",
    "estimate": "microseconds, by the compiler; it counts a float32 product as one pass, of which precision highest "
    "takes six; too many: too much is left out for one",
    "left out": "operations of one run that the compiler has no estimate of, so that they count nothing in it",
    "bound": "microseconds that it takes at the least: the operations at the chip's peak rate, in the passes of the "
    "precision, or what it is given and gives through the chip's memory once (the roofline)",
    "operations": "floating-point, a product counted once",
    "moved": "bytes that the operations read and write, of which some never leave the chip",
    "memory": "bytes that the program needs on each chip",
    "compiled in": "seconds, on this machine",
}
HEADER = ("program", *TERMS)
SHORT_HEADER = ("program", "models", "µs", "bound", "flop", "memory", "compile")


def said(report: EstimateReport) -> str:
    """Return in a sentence whether all can be compiled, and fits."""
    chips, memory = report.config.chips, report.chip.memory / 2**30
    where = f"TPU {chips.kind}, {chips.count} chip{'s' * (chips.count > 1)} of {memory:.0f} GiB"
    refused = [row for row in report.rows if row.note and row.fits is None]
    large = [row for row in report.rows if row.fits is False]
    if refused or large:
        return f"{where}: of {len(report.rows)} programs {len(refused)} cannot be compiled, and {len(large)} do not fit"
    most = max((row.memory_bytes or 0 for row in report.rows), default=0)
    return f"{where}: all {len(report.rows)} programs are compiled, and fit (the largest needs {_bytes(most)})"


def answers(report: EstimateReport) -> Iterator[tuple[str, str]]:
    """Yield for each network the least that a model-step takes, and for a pair what each of its programs does."""
    for group, rows in groups(report):
        timed = [row for row in rows if row.estimate_us is not None]
        if report.config.pair:
            yield from ((f"{row.program}, {group}", f"{_number(_at_least(row))} µs or more") for row in timed)
            continue
        steps = [row for row in timed if row.per == "model-step"]
        if steps:
            best = min(steps, key=_at_least)
            many = "a model alone" if best.models == 1 else f"{best.models} models at once"
            yield f"a model-step at {group}", f"{_number(_at_least(best))} µs or more ({many})"


def _at_least(row: EstimateRow) -> float:
    """The larger of the estimate, which counts no passes, and of the bound, which counts no overhead."""
    return max(row.estimate_us or 0.0, row.bound_us or 0.0)


def groups(report: EstimateReport) -> Iterator[tuple[str, list[EstimateRow]]]:
    """Yield the rows of each network, or of each batch of a pair."""
    for group in dict.fromkeys(row.group for row in report.rows):
        yield group, [row for row in report.rows if row.group == group]


def print_report(report: EstimateReport, console: Console) -> None:
    """Print that these are estimates, whether all fits, and a table for each group."""
    console.out(f"ESTIMATES of a compiler; nothing was run. {said(report)}", highlight=False)
    if not report.complete:
        console.out(f"INTERRUPTED: {report.done}.", highlight=False)
    for question, text in answers(report):
        console.out(f"{question}: {text}", highlight=False)
    for name, rows in groups(report):
        console.out("")
        console.out(name, highlight=False)
        table = Table(*SHORT_HEADER, box=None, padding=(0, 1, 0, 0))
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify, column.no_wrap = "right", True
        for row in rows:
            program, models, _, estimate, left_out, bound, operations, _, memory, compiled = cells(row)
            estimate += "*" if left_out else ""
            table.add_row(program, models, estimate, bound.partition(" ")[0], operations, memory, compiled)
        console.print(table)
        for words, note in notes(rows):
            console.out(f"{words}: {note}", highlight=False)
    if any(row.not_estimated for row in report.rows):
        console.out("* without operations that the compiler has no estimate of", highlight=False)
    for words in report.left_out:
        console.out(f"left out: {words}", highlight=False)


def notes(rows: list[EstimateRow]) -> Iterator[tuple[str, str]]:
    """Yield what is to be known of rows."""
    for row in rows:
        words = f"{row.program} ({row.models or 'any number'}, {row.dtype})"
        if row.note:
            yield words, row.note
        if row.fits is False and not row.note:
            yield words, "it needs more memory than a chip has"


def cells(row: EstimateRow) -> tuple[str, ...]:
    """A row in words."""
    program = row.program if row.dtype in ("float32", row.group.rpartition(" ")[2]) else f"{row.program}, {row.dtype}"
    if row.note:
        return program, str(row.models or ""), row.per, "none", *[""] * (len(HEADER) - 4)
    return (
        program,
        str(row.models or ""),
        row.per if row.models else "",
        _estimate(row),
        str(row.not_estimated or ""),
        "" if row.bound_us is None else f"{_number(row.bound_us)} ({row.bound_by})",
        "" if row.operations is None else f"{row.operations:.3g}",
        "" if row.moved_bytes is None else _bytes(row.moved_bytes),
        ("" if row.memory_bytes is None else _bytes(row.memory_bytes)) + ("!" if row.fits is False else ""),
        "" if row.compile_s is None else f"{row.compile_s:.1f} s",
    )


def _estimate(row: EstimateRow) -> str:
    if row.estimate_us is not None:
        return _number(row.estimate_us)
    return "too many" if row.not_estimated else ""


def _bytes(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _number(microseconds: float) -> str:
    return f"{microseconds:.3g}" if microseconds < 1000 else f"{microseconds:,.0f}"


def report_dict(report: EstimateReport) -> dict[str, Any]:
    """The report as what JSON can hold."""
    return {
        "schema": SCHEMA,
        "estimates": True,
        "title": report.title,
        "chips": asdict(report.config.chips) | asdict(report.chip),
        "complete": report.complete,
        "all_fit": report.is_well,
        "left_out": list(report.left_out),
        "answers": [{"question": question, "answer": text} for question, text in answers(report)],
        "rows": [asdict(row) for row in report.rows],
        "environment": dict(report.environment),
        "config": asdict(report.config),
        "command": report.command,
        "seconds": report.seconds,
    }


def write_json(report: EstimateReport, path: Path) -> None:
    """Write the report as JSON, without NaN or Infinity.

    Raises:
        InputError: the place cannot be written.
    """
    write_object(report_dict(report), path)
