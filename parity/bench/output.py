"""The report of a benchmark as JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.bench.answers import answers
from parity.bench.records import BenchReport, Row
from parity.files import write_object

SCHEMA = 1


def report_dict(report: BenchReport) -> dict[str, Any]:
    """The report as what JSON can hold; times are microseconds per model-step."""
    return {
        "schema": SCHEMA,
        "environment": dict(report.environment),
        "command": report.command,
        "seconds": report.seconds,
        "complete": report.complete,
        "trusted": report.trusted,
        "doubts": list(report.doubts),
        "answers": [f"{answer.question}: {answer.text}" for answer in answers(report)],
        "config": asdict(report.config),
        "rows": [row_dict(row) for row in report.rows],
        "profiles": {name: [asdict(found) for found in profile] for name, profile in report.profiles.items()},
    }


def row_dict(row: Row) -> dict[str, Any]:
    """One row."""
    case = {name: getattr(row.case, name) for name in ("depth", "width", "batch_size", "batch_norm")}
    whole = asdict(row)
    first = {name: whole.pop(name) for name in ("framework", "mode", "device", "precision")}
    times = {name: whole.pop(name) for name in ("population", "compile_s", "median_us", "low_us", "high_us")}
    ratios = {name: whole.pop(name) for name in ("floor_us", "ratio_to_floor", "ratio_to_lab_loop")}
    del whole["case"], whole["title"]
    return first | case | times | ratios | whole


def write_json(report: BenchReport, path: Path) -> None:
    """Write the report as JSON, without NaN or Infinity.

    Raises:
        InputError: the place cannot be written.
    """
    write_object(report_dict(report), path)
