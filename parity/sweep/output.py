"""The files of a sweep that other programs read: CSV tables and the configuration, each replaced whole."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from parity.files import replace_file
from parity.sweep.grid import Group, SweepConfig
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
    "survivors_above",
    "best_learning_rate",
    "best_test_accuracy",
)


def write_tables(report: SweepReport, folder: Path) -> None:
    """Write `trials.csv`, `thresholds.csv` and `config.toml`."""
    replace_file(folder / "trials.csv", _csv(TRIAL_COLUMNS, report.trials).encode())
    replace_file(folder / "thresholds.csv", _csv(THRESHOLD_COLUMNS, report.thresholds).encode())
    replace_file(folder / "config.toml", _toml(report).encode())


def _csv(columns: tuple[str, ...], records: Iterable[Trial] | Iterable[Threshold]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(GROUP_COLUMNS + columns)
    for record in records:
        writer.writerow([*_group_cells(record.group), *(_cell(getattr(record, name)) for name in columns)])
    return text.getvalue()


def _group_cells(group: Group) -> tuple[str, int, str, int]:
    return group.framework, group.depth, "on" if group.batch_norm else "off", group.seed


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def config_fields(config: SweepConfig) -> dict[str, Any]:
    """The configuration in the words of the command line."""
    return {
        "framework": list(config.frameworks),
        "depths": list(config.depths),
        "batch_norm": ["on" if value else "off" for value in config.batch_norm],
        "learning_rates": str(config.learning_rates),
        "seeds": config.num_seeds,
        "passes": config.num_passes,
        "dataset": config.dataset,
        "hidden_width": config.hidden_width,
        "batch_size": config.batch_size,
        "fraction": config.fraction,
        "population_size": config.population_size,
        "device": config.device,
        "block_order": str(config.block_order),
        "initialization": str(config.initialization),
        "residual": config.residual,
        "dropout_rate": config.dropout_rate,
    }


def _toml(report: SweepReport) -> str:
    tables: dict[str, Mapping[str, Any]] = {
        "sweep": config_fields(report.config) | {"command": report.command, "complete": report.complete},
        "environment": report.environment,
    }
    lines = []
    for table, fields in tables.items():
        # JSON's strings, numbers, booleans and lists are TOML's too; non-ASCII is left as it is.
        lines += [
            f"[{table}]",
            *(f"{json.dumps(k)} = {json.dumps(v, ensure_ascii=False)}" for k, v in fields.items()),
            "",
        ]
    return "\n".join(lines)
