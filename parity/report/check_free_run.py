"""Two trainings left to themselves: their distance against that of twins that differ by rounding alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from parity.check.free_run import fails
from parity.check.records import CheckReport, FreeRun
from parity.check.words import number_words
from parity.report.canvas import open_sheet
from parity.report.check_axes import LogScale
from parity.report.check_noise import subtitle
from parity.report.check_series import MOST_PANELS
from parity.report.heading import check_heading
from parity.report.panels import PanelGrid
from parity.report.style import page_style, short

_LOOKS: dict[str, dict[str, Any]] = {
    "candidate from witness": {"color": "#009E73", "linewidth": 1.0, "linestyle": (0, (4, 1, 1, 1))},
    "reference from witness": {"color": "#000000", "linewidth": 1.0, "linestyle": (0, (3, 3))},
    "candidate from reference": {"color": "#0072B2", "linewidth": 1.8, "linestyle": "solid"},
    "twins": {"color": "#B3261E", "linewidth": 1.4, "linestyle": (0, (6, 2))},
    "travelled": {"color": "#777777", "linewidth": 1.4, "linestyle": (0, (1, 1.5))},
}
_WORDS = {
    "candidate from reference": "candidate to reference",
    "candidate from witness": "candidate to NumPy",
    "reference from witness": "reference to NumPy",
    "twins": "limit",
    "travelled": "NumPy to its own start",
}
_HORIZONS = {
    "horizon": {"color": "#0072B2", "linewidth": 1.0, "linestyle": (0, (8, 3))},
    "twin_horizon": {"color": "#B3261E", "linewidth": 1.0, "linestyle": (0, (2, 2))},
}


def drawn_runs(report: CheckReport) -> list[FreeRun]:
    """The runs that are furthest from their twins, as many as a figure can hold, in their order."""
    runs = [run for run in report.free_runs if len(run.distances)]
    rank = sorted(range(len(runs)), key=lambda place: runs[place].times_noise, reverse=True)[:MOST_PANELS]
    return [runs[place] for place in sorted(rank)]


def free_run_distances(report: CheckReport) -> Figure:
    """The distance of both sides' weights after each update, and the limit that the twins set: a panel for each run."""
    with page_style():
        runs = drawn_runs(report)
        grid = PanelGrid(
            range(len(runs)), lambda place: short(str(runs[place].setting), 52), most_columns=2, panel=(4.6, 2.0),
            row_gap=1.05, head=0.42,
        )  # fmt: skip
        sheet = open_sheet(
            check_heading(report), "Free run: how far the states are apart after each update",
            size=(grid.width(0.2), grid.height), handles=_handles(report, runs), left=0.95,
        )  # fmt: skip
        scale = LogScale.of([v for run in runs for series in _series(report, run).values() for v in series])
        for place, (axes,) in grid.draw(sheet).items():
            run = runs[place]
            scale.apply(axes, labelled=grid.is_first(place))
            _draw_run(axes, report, run, scale)
            subtitle(axes, _judgement(report, run))
            if grid.is_first(place):
                axes.set_ylabel("RMS distance / largest RMS\n(no unit, log scale)")
        return sheet.figure


def _series(report: CheckReport, run: FreeRun) -> dict[str, np.ndarray]:
    by_candidate, by_reference = np.asarray(run.from_witness, np.float64)
    return {
        "candidate from witness": by_candidate,
        "reference from witness": by_reference,
        "candidate from reference": np.asarray(run.distances, np.float64),
        "twins": report.safety * np.asarray(run.twins, np.float64),
        "travelled": np.asarray(run.travelled, np.float64),
    }


def _judgement(report: CheckReport, run: FreeRun) -> str:
    if run.setting.dtype != "float64":
        return f"not judged in {run.setting.dtype}"
    if not run.judged:
        return "not judged: rounding reaches all that training has changed at once"
    verdict = "BEYOND THE LIMIT" if fails(run, report.safety) else "within the limit"
    return f"{number_words(run.times_noise)} × the twins' in {run.judged} of {len(run.twins)} updates: {verdict}"


def _draw_run(axes: Axes, report: CheckReport, run: FreeRun, scale: LogScale) -> None:
    updates = len(run.distances)
    for name, values in _series(report, run).items():
        texts = [f"{_WORDS[name]}, update {number}: {value:.2g}" for number, value in enumerate(values, 1)]
        scale.draw(axes, np.arange(1, len(values) + 1), values, gid=name, texts=texts, **_LOOKS[name])
    for name, look in _HORIZONS.items():
        if (horizon := getattr(run, name)) is not None:
            axes.axvline(horizon, gid=name, **look)
    judged = run.judged if run.setting.dtype == "float64" else 0
    if judged < updates:
        axes.axvspan(judged + 0.5, updates + 0.5, color="#EFEFEF", zorder=0.2, gid="not judged")
    axes.set_xlim(0.5, updates + 0.5)
    axes.set_xlabel("updates done")


def _handles(report: CheckReport, runs: Sequence[FreeRun]) -> list[Any]:
    handles: list[Any] = [
        Line2D(
            [],
            [],
            label=f"{text}: {report.safety:g} × the furthest one-ulp twin" if name == "twins" else text,
            **_LOOKS[name],
        )
        for name, text in _WORDS.items()
    ]
    handles.append(Patch(color="#EFEFEF", label="grey: not judged"))
    lines = {
        "horizon": "upright: the two have lost each other",
        "twin_horizon": "upright: the twins have lost the reference",
    }
    return handles + [
        Line2D([], [], label=lines[name], **look)
        for name, look in _HORIZONS.items()
        if any(getattr(run, name) is not None for run in runs)
    ]
