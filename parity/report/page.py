"""The report of a sweep as one HTML file that needs nothing beside it."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from parity.files import replace_file
from parity.report.canvas import notices
from parity.report.figures import SWEEP_FIGURES, SweepFigure
from parity.report.style import batch_norm_words
from parity.report.tables import sorted_frameworks, threshold_table
from parity.sweep.classify import stuck_loss
from parity.sweep.output import THRESHOLD_COLUMNS, TRIAL_COLUMNS
from parity.sweep.records import SweepReport, Threshold, Trial

DPI = 130
_WORDY = ("framework", "batch norm", "status", "outcome", "message")
_GROUP = ("framework", "depth", "batch norm", "seed")


@dataclass(frozen=True)
class _Picture:
    name: str
    alt: str
    caption: str
    png: bytes
    width: int
    height: int

    @property
    def data(self) -> str:
        return base64.b64encode(self.png).decode("ascii")


def write_report(report: SweepReport, folder: Path, dpi: int = DPI) -> Path:
    """Write `figures/*.png` and `report.html` into a folder; a file is either the old one or the whole new one.

    Args:
        report: of the sweep, finished or not.
        folder: made if it is missing. A figure of an earlier report that does not apply any more is removed.
        dpi: pixels per inch of the figures.

    Returns:
        The path of the HTML file, which holds the figures too.

    Raises:
        OSError: the folder cannot be written.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    pictures = []
    for entry in SWEEP_FIGURES:
        path = figures / f"{entry.name}.png"
        if entry.applies(report):
            picture = _picture(entry, entry.draw(report), dpi)
            pictures.append(picture)
            replace_file(path, picture.png)
        else:
            path.unlink(missing_ok=True)
    page = folder / "report.html"
    replace_file(page, render_page(report, pictures).encode())
    return page


def render_page(report: SweepReport, pictures: Sequence[_Picture]) -> str:
    """The HTML of a report, with its figures inside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    rows = threshold_table(report)
    return environment.get_template("page.html.j2").render(
        report=report,
        frameworks=sorted_frameworks(report),
        settings=sorted(report.config.batch_norm),
        words=batch_norm_words,
        stuck_loss=stuck_loss(report.label_entropy),
        notices=notices(report),
        answer=[list(found) for _, found in groupby(rows, key=lambda row: row.depth)],
        figures=pictures,
        wordy=_WORDY,
        zip=zip,
        threshold_header=_header(THRESHOLD_COLUMNS),
        threshold_rows=[_row(threshold, THRESHOLD_COLUMNS) for threshold in report.thresholds],
        trial_header=_header(TRIAL_COLUMNS),
        trial_rows=[_row(trial, TRIAL_COLUMNS) for trial in report.trials],
        configuration=[
            (found.name.replace("_", " "), _words(getattr(report.config, found.name)))
            for found in fields(report.config)
        ],
    )


def _picture(entry: SweepFigure, figure: Figure, dpi: int) -> _Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    width, height = (round(inches * 100) for inches in figure.get_size_inches())
    return _Picture(entry.name, entry.alt, entry.caption, buffer.getvalue(), width, height)


def _header(names: Sequence[str]) -> list[str]:
    return [*_GROUP, *(name.replace("_", " ") for name in names)]


def _row(record: Trial | Threshold, names: Sequence[str]) -> list[str]:
    group = record.group
    key = (group.framework, group.depth, group.batch_norm, group.seed)
    return [_words(value) for value in (*key, *(getattr(record, name) for name in names))]


def _words(value: Any) -> str:
    """A value as a reader wants it: four significant digits, `on` and `off`, a dash for what does not apply."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(_words(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)
