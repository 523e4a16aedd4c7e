"""The files of a sweep that other programs read: CSV tables and the configuration, each replaced whole."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from parity.errors import InputError
from parity.files import replace_file
from parity.sweep.grid import Group
from parity.sweep.records import SweepReport, Threshold, Trial

GROUP_COLUMNS = ("framework", "depth", "batch_norm", "seed")
TRIAL_COLUMNS = (
    "learning_rate",
    "status",
    "steps",
    "initial_loss",
    "final_loss",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "message",
)
THRESHOLD_COLUMNS = (
    "outcome",
    "largest_stable",
    "smallest_divergent",
    "largest_useful",
    "survivors_above",
    "best_learning_rate",
    "best_test_accuracy",
)
_NO_TEXT = re.compile("[\ud800-\udfff]")  # bytes of a path that are no UTF-8; they are written as their escapes


def write_tables(report: SweepReport, folder: Path, parquet: bool = False) -> None:
    """Write `trials.csv`, `thresholds.csv` and `config.toml`, and the tables as Parquet too."""
    replace_file(folder / "trials.csv", _utf8(_csv(TRIAL_COLUMNS, report.trials)))
    replace_file(folder / "thresholds.csv", _utf8(_csv(THRESHOLD_COLUMNS, report.thresholds)))
    replace_file(folder / "config.toml", _toml(report).encode())
    if not parquet:  # older ones would not be of these trials
        for name in ("trials.parquet", "thresholds.parquet"):
            with suppress(OSError):
                (folder / name).unlink()
    else:
        replace_file(folder / "trials.parquet", _parquet(TRIAL_COLUMNS, report.trials))
        replace_file(folder / "thresholds.parquet", _parquet(THRESHOLD_COLUMNS, report.thresholds))


def check_parquet() -> None:
    """Refuse Parquet where nothing can write it.

    Raises:
        InputError: PyArrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise InputError("--parquet needs PyArrow; install it with: pip install 'bnparity[parquet]'")


def _parquet(columns: tuple[str, ...], records: Sequence[Trial] | Sequence[Threshold]) -> bytes:
    """The CSV's columns with types: whole numbers, floats with nan and the infinities, words; null: not applicable."""
    import pyarrow as pa
    from pyarrow import parquet

    words = {"framework", "batch_norm", "status", "message", "outcome"}
    rows = [dict(zip(GROUP_COLUMNS, _group_cells(record.group), strict=True)) for record in records]
    for row, record in zip(rows, records, strict=True):
        row |= {name: getattr(record, name) for name in columns}
        row |= {name: _utf8(str(value)).decode() for name, value in row.items() if name in words}
    types = {"depth": pa.int64(), "seed": pa.int64(), "steps": pa.int64(), "survivors_above": pa.int64()}
    schema = pa.schema(
        [(n, types.get(n, pa.string() if n in words else pa.float64())) for n in GROUP_COLUMNS + columns]
    )
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema), buffer)
    return buffer.getvalue()


def _utf8(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def _csv(columns: tuple[str, ...], records: Iterable[Trial] | Iterable[Threshold]) -> str:
    lines: list[str] = []
    file: Any = SimpleNamespace(write=lines.append)
    writer = csv.writer(file, lineterminator="\r\n")  # it quotes what its lines end in: so either, and not "\n" alone
    writer.writerow(GROUP_COLUMNS + columns)
    for record in records:
        writer.writerow([*_group_cells(record.group), *(_cell(getattr(record, name)) for name in columns)])
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def _group_cells(group: Group) -> tuple[str, int, str, int]:
    return group.framework, group.depth, "on" if group.batch_norm else "off", group.seed


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _toml(report: SweepReport) -> str:
    tables: dict[str, Mapping[str, Any]] = {
        "sweep": report.config.to_words() | {"command": report.command, "complete": report.complete},
        "environment": report.environment,
    }
    lines = []
    for table, fields in tables.items():
        lines += [f"[{table}]", *(f"{_toml_value(name)} = {_toml_value(value)}" for name, value in fields.items()), ""]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    """JSON's strings, numbers, booleans and lists are TOML's too but for DEL; non-ASCII is left as it is."""
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return _NO_TEXT.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
