"""A compiler's estimates as one HTML file that needs nothing beside it."""

from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from parity.estimate.records import EstimateReport, EstimateRow
from parity.estimate.screen import HEADER, TERMS, answers, cells, groups, notes, said
from parity.files import replace_file
from parity.report.canvas import open_sheet
from parity.report.heading import Heading
from parity.report.markup import Picture, configuration, render, take_picture
from parity.report.style import log_ticks, plain, short

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v")


def write_estimate_report(report: EstimateReport, path: Path) -> None:
    """Write estimates as one HTML file; the file is either the old one or the whole new one.

    Raises:
        InputError: the place cannot be written.
    """
    scaling = _scaling(report)
    page = render(
        "estimate.html.j2",
        report=report,
        said=said(report),
        answers=list(answers(report)),
        sections=[(name, [cells(row) for row in rows], [*notes(rows)]) for name, rows in groups(report)],
        header=HEADER,
        terms=TERMS,
        figures=[_picture(report, scaling)] if scaling else [],
        configuration=configuration(report.config),
    )
    replace_file(path, page.encode())


def _scaling(report: EstimateReport) -> dict[str, list[EstimateRow]]:
    """The updates of each network, by how many models are trained at once, where that is more than one number."""
    found = {}
    for name, rows in groups(report):
        own = [row for row in rows if row.per == "model-step" and row.dtype == "float32" and row.estimate_us]
        if len({row.models for row in own}) > 1:
            found[name] = sorted(own, key=lambda row: row.models)
    return found


def _picture(report: EstimateReport, scaling: dict[str, list[EstimateRow]]) -> Picture:
    return take_picture(
        "model_steps",
        partial(_draw, report, scaling),
        alt="Microseconds of a model-step against the models trained at once, two lines for each network.",
        caption="What a model-step is estimated to take as more models are trained at once; lower is faster. "
        "Solid: the compiler's estimate. Dotted: the roofline.",
    )


def _draw(report: EstimateReport, scaling: dict[str, list[EstimateRow]]) -> Figure:
    title = f"A model-step on one TPU {report.config.chips.kind} chip, estimated"
    looks: list[dict[str, Any]] = [
        {"color": _COLORS[number % len(_COLORS)], "marker": _MARKERS[number % len(_MARKERS)], "markersize": 5}
        for number in range(len(scaling))
    ]
    handles = [Line2D([], [], label=plain(short(name)), **look) for name, look in zip(scaling, looks, strict=True)]
    sheet = open_sheet(Heading(report.title, report.command), title, size=(8.5, 4.2), handles=handles)
    axes = sheet.axes(0, 0, sheet.width, sheet.height)
    axes.set_xscale("log")
    axes.set_yscale("log")
    shown: list[float] = []
    for rows, look in zip(scaling.values(), looks, strict=True):
        models = [row.models for row in rows]
        for dash, values in (
            ("solid", [row.estimate_us or 0.0 for row in rows]),
            ("dotted", [row.roofline_us or 0.0 for row in rows]),
        ):
            axes.plot(models, values, linestyle=dash, **look)
            shown += values
    numbers = sorted({row.models for rows in scaling.values() for row in rows})
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.xaxis.set_minor_locator(NullLocator())
    log_ticks(axes.yaxis, min(shown), max(shown))
    axes.set_xlabel("models trained at once on a chip")
    axes.set_ylabel("microseconds per model-step")
    return sheet.figure
