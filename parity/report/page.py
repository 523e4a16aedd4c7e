"""The report of a sweep as one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from parity.divergence import stuck_loss
from parity.files import replace_file
from parity.report.boundaries import BOUNDARIES, boundary_table, sorted_frameworks
from parity.report.figures import SWEEP_FIGURES
from parity.report.heading import notices
from parity.report.markup import DPI, Picture, configuration, render, take_picture, take_png, words
from parity.report.slim_table import SlimTable, slim
from parity.report.style import batch_norm_words
from parity.report.sweep_answers import answers
from parity.sweep.output import THRESHOLD_COLUMNS, TRIAL_COLUMNS
from parity.sweep.records import SweepReport, Threshold, Trial

_WORDY = ("framework", "batch norm", "status", "outcome", "message")
_GROUP = ("framework", "depth", "batch norm", "seed")


def write_report(report: SweepReport, folder: Path, dpi: int = DPI) -> Path:
    """Write `figures/*.png` and `report.html` into a folder; a file is either the old one or the whole new one.

    Args:
        report: of the sweep, finished or not.
        folder: made if it is missing. A figure of an earlier report that does not apply any more is removed.
        dpi: pixels per inch of the figures' files.

    Returns:
        The path of the HTML file, which holds the figures too, as drawings.

    Raises:
        OSError: the folder cannot be written.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    pictures = []
    for entry in SWEEP_FIGURES:
        path = figures / f"{entry.name}.png"
        if entry.applies(report):
            draw = partial(entry.draw, report)
            alt = f"{entry.alt} Data set: {report.dataset}."
            pictures.append(take_picture(entry.name, draw, alt=alt, caption=entry.caption))
            replace_file(path, take_png(draw, dpi))
        else:
            with suppress(OSError):  # a folder in its place, which is none of ours
                path.unlink(missing_ok=True)
    page = folder / "report.html"
    replace_file(page, render_page(report, pictures).encode())
    return page


def render_page(report: SweepReport, pictures: Sequence[Picture]) -> str:
    """The HTML of a report, with its figures inside it."""
    columns = [*map(batch_norm_words, sorted(report.config.batch_norm)), "factor"]
    return render(
        "page.html.j2",
        report=report,
        titles=[report.title(name) for name in sorted_frameworks(report)],
        columns=columns if len(report.config.batch_norm) == 2 else columns[:1],
        answers=answers(report),
        stuck_loss=stuck_loss(report.label_entropy),
        notices=notices(report),
        answer=[(boundary, boundary_table(report, boundary)) for boundary in BOUNDARIES],
        figures=pictures,
        wordy=_WORDY,
        thresholds=_table(report.thresholds, THRESHOLD_COLUMNS),
        trials=_table(report.trials, TRIAL_COLUMNS),
        configuration=configuration(report.config),
    )


def _table(records: Sequence[Trial] | Sequence[Threshold], names: Sequence[str]) -> SlimTable:
    header = [*_GROUP, *(name.replace("_", " ") for name in names)]
    return slim(header, [_row(record, names) for record in records])


def _row(record: Trial | Threshold, names: Sequence[str]) -> list[str]:
    group = record.group
    key = (group.framework, group.depth, group.batch_norm, group.seed)
    return [words(value) for value in (*key, *(getattr(record, name) for name in names))]
