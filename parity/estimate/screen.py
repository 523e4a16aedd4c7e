"""Estimates as text, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from parity.estimate.records import EstimateReport, EstimateRow
from parity.files import write_object
from parity.machine import bytes_in_words

SCHEMA = 1
TERMS = {
    "models": "that the program has on each chip",
    "per": "what the figures to the right are for, on one chip",
    "estimate": "microseconds, by the compiler; it counts a float32 product as one pass, of which precision highest "
    "takes six; too many: too much is left out for one",
    "left out": "operations of one run that the compiler has no estimate of, so that they count nothing in it",
    "roofline": "microseconds: the operations at the chip's peak rate, each in one pass, or every argument read and "
    "every result written once through the chip's memory; what stays on the chip from run to run takes less",
    "operations": "floating-point; of float64, those that emulate it",
    "moved": "bytes that the operations read and write, of which some never leave the chip",
    "memory": "bytes that the program needs on each chip",
    "compiled in": "seconds, on this machine, to trace and to compile",
}
HEADER = ("program", *TERMS)
SHORT_HEADER = ("program", "models", "per", "µs", "roofline", "memory", "compile")
STEP = "model-step"


def said(report: EstimateReport) -> str:
    """Return in a sentence whether all can be compiled, and fits."""
    chips, memory = report.config.chips, report.chip.memory / 2**30
    where = f"TPU {chips.kind}, {chips.count} chip{'s' * (chips.count > 1)} of {memory:.0f} GiB"
    if report.differs:
        return f"{where}: nothing was compiled, since {report.differs}"
    refused = [row for row in report.rows if row.fits is None]
    large = [row for row in report.rows if row.fits is False]
    done = "" if report.complete else " that were done"
    if refused or large:
        counts = f"{len(refused)} cannot be compiled, and {len(large)} do not fit"
        return f"{where}: of {len(report.rows)} programs{done} {counts}"
    most = bytes_in_words(max((row.memory_bytes or 0 for row in report.rows), default=0))
    return f"{where}: all {len(report.rows)} programs{done} are compiled, and fit (the largest needs {most})"


def answers(report: EstimateReport) -> Iterator[tuple[str, str]]:
    """Yield for each network what a model-step takes on a chip, and for a pair what each of its programs does.

    Of populations only those are compared of which the compiler has left nothing out, if there are any.
    """
    chip = f"on each of {report.config.chips.count} chips" if report.config.chips.count > 1 else "on a chip"
    for group, rows in groups(report):
        timed = [row for row in rows if row.estimate_us is not None]
        if report.config.pair:
            yield from ((f"{row.program}, {group}", f"{_words(row)} {chip}") for row in timed)
            continue
        steps = [row for row in timed if row.per == STEP]
        whole = [row for row in steps if not row.not_estimated]
        if steps:
            best = min(whole or steps, key=lambda row: row.estimate_us or 0.0)
            many = "a model alone" if best.models == 1 else f"{best.models} models at once"
            yield f"a model-step at {group}", f"{_words(best)} {chip} ({many})"


def _words(row: EstimateRow) -> str:
    out = f", but for {row.not_estimated} operations that it has no estimate of," if row.not_estimated else ""
    return f"about {_number(row.estimate_us or 0.0)} µs by the compiler{out}"


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
            column.justify, column.no_wrap = "left" if column.header == "per" else "right", True
        for row in rows:
            program, models, per, estimate, left_out, roofline, _, _, memory, compiled = cells(row)
            estimate += "*" if left_out else ""
            table.add_row(program, models, per, estimate, roofline.partition(" ")[0], memory, compiled)
        console.print(table)
        for words, note in notes(rows):
            console.out(f"{words}: {note}", highlight=False)
    if report.rows:
        console.out("")
        console.out("µs: by the compiler, on one chip; it counts a float32 product as one pass, and highest takes six.")
        console.out("roofline: what the chip's peak rate, in one pass, or one trip through its memory takes.")
    if any(row.not_estimated for row in report.rows):
        console.out("* without operations that the compiler has no estimate of", highlight=False)
    for words in report.left_out:
        console.out(f"left out: {words}", highlight=False)


def notes(rows: list[EstimateRow]) -> Iterator[tuple[str, str]]:
    """Yield what is to be known of rows."""
    for row in rows:
        words = f"{row.program} ({row.models}, {row.dtype})"
        if row.note:
            yield words, row.note
        if row.fits is False and row.memory_bytes is not None:
            yield words, "it needs more memory than a chip has"


def cells(row: EstimateRow) -> tuple[str, ...]:
    """A row in words."""
    if row.memory_bytes is None:
        return row.program, str(row.models), row.per, "none", *[""] * (len(HEADER) - 4)
    return (
        row.program,
        str(row.models),
        row.per if row.operations is not None else "",
        _estimate(row),
        str(row.not_estimated or ""),
        "" if row.roofline_us is None else f"{_number(row.roofline_us)} ({row.roofline_by})",
        "" if row.operations is None else f"{row.operations:.3g}",
        "" if row.moved_bytes is None else bytes_in_words(row.moved_bytes),
        bytes_in_words(row.memory_bytes) + ("!" if row.fits is False else ""),
        "" if row.compile_s is None else f"{row.compile_s:.1f} s",
    )


def _estimate(row: EstimateRow) -> str:
    if row.estimate_us is not None:
        return _number(row.estimate_us)
    return "too many" if row.not_estimated else ""


def _number(microseconds: float) -> str:
    return f"{microseconds:.3g}" if microseconds < 100 else f"{microseconds:,.0f}"


def report_dict(report: EstimateReport) -> dict[str, Any]:
    """The report as what JSON can hold."""
    return {
        "schema": SCHEMA,
        "estimates": True,
        "title": report.title,
        "chips": asdict(report.config.chips) | asdict(report.chip),
        "complete": report.complete,
        "all_fit": report.is_well,
        "differs": report.differs or None,
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
