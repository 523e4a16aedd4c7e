"""The report of a comparison as one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from parity.files import replace_file
from parity.pair.records import CompareReport, Measured
from parity.pair.screen import coverage_words, heading, lines, verdict_words
from parity.report.canvas import open_sheet
from parity.report.heading import Heading
from parity.report.markup import DPI, Picture, render, take_picture, words
from parity.report.style import page_style
from parity.verdict.compare import SAFETY

SIGNS = {"agrees": "✔", "differs": "✘", "within a stretch": "·", "not compared": "?"}
LOOKS: dict[str, dict[str, Any]] = {
    "activation": {"color": "#0072B2", "marker": "o"},
    "cotangent": {"color": "#D55E00", "marker": "s"},
    "gradient": {"color": "#009E73", "marker": "^"},
    "statistic": {"color": "#7F3C66", "marker": "D"},
}
LEAST = 1e-18  # what is smaller is drawn there


def write_compare_report(report: CompareReport, path: Path, dpi: int = DPI) -> None:
    """Write the report of a comparison as one HTML file; the file is either the old one or the whole new one.

    Args:
        report: of the comparison.
        path: of the file.
        dpi: pixels per inch of the figure.

    Raises:
        InputError: the place cannot be written.
    """
    pictures = []
    if report.measured:
        caption = (
            "Each value that was compared, in the order in which it is computed: how far the candidate is from the "
            "reference, relative to the value's size, given what goes in. Below each stands its limit, in grey: what "
            "rounding may do. What is above its limit differs."
        )
        alt = f"Relative difference of each value along the depth, with its limit. Verdict: {report.verdict}."
        pictures = [take_picture("depth", along_depth(report), alt=alt, caption=caption, dpi=dpi)]
    replace_file(path, render_compare_page(report, pictures).encode())


def render_compare_page(report: CompareReport, pictures: Sequence[Picture]) -> str:
    """The HTML of a report, with its figure inside it."""
    return render(
        "compare.html.j2",
        report=report,
        verdict=str(report.verdict).upper(),
        words=verdict_words(report),
        safety=SAFETY,
        coverage=coverage_words(report),
        findings=[(heading(finding), lines(finding)) for finding in report.findings],
        modules=[
            {
                "indent": row.path.count(".") + bool(row.path),
                "name": row.path.rpartition(".")[2] or "the model",
                "path": row.path,
                "row": row,
                "sign": SIGNS[row.mark],
            }
            for row in report.modules
        ],
        weights=[(path, each.candidate, each.transform, each.proof) for path, each in report.weights.items()],
        figures=pictures,
        configuration=[
            ("free pass", words({mode: f"{times:.3g} noise floors" for mode, times in report.free.items()})),
            ("drawn tensors", ", ".join(report.drawn) or "none"),
        ],
    )


def along_depth(report: CompareReport) -> Figure:
    """The relative difference of each value, and its limit, in causal order: a panel for each mode."""
    modes = list(dict.fromkeys(each.mode for each in report.measured))
    kinds = [kind for kind in LOOKS if any(each.kind == kind for each in report.measured)]
    handles = [
        *(Line2D([], [], linestyle="none", label=kind, markersize=4, **LOOKS[kind]) for kind in kinds),
        Line2D([], [], color="#999999", linestyle="none", marker="_", label="limit"),
    ]
    title = f"verdict: {report.verdict}" + (f"; {report.title}" if report.title else "")
    with page_style():
        width, height = 9.2, 2.4
        sheet = open_sheet(
            Heading(title, report.command or "parity.compare"),
            "Difference along the depth",
            size=(width, (height + 0.5) * len(modes)),
            handles=handles,
        )
        for number, mode in enumerate(modes):
            axes = sheet.axes(0, (height + 0.5) * (len(modes) - 1 - number), width - 1.0, height)
            _draw(axes, [each for each in report.measured if each.mode == mode], kinds)
            axes.set_title(mode, loc="left", fontsize=9, fontweight="bold")
            axes.set_ylabel("relative difference")
            if number == len(modes) - 1:
                axes.set_xlabel("values in the order in which they are computed, backward after forward")
    return sheet.figure


def _draw(axes: Any, measured: Sequence[Measured], kinds: Sequence[str]) -> None:
    places = np.arange(len(measured))
    axes.set_yscale("log")
    axes.plot(places, [max(each.limit, LEAST) for each in measured], linestyle="none", marker="_", color="#999999")
    for kind in kinds:
        chosen = [(i, max(each.relative, LEAST)) for i, each in zip(places, measured, strict=True) if each.kind == kind]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), linestyle="none", markersize=3.5, **LOOKS[kind])
