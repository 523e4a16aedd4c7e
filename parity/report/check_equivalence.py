"""The statistical answers: mean differences with their intervals, in units of the margin."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from parity.check.records import CheckReport, Equivalence
from parity.report.canvas import is_narrow, open_sheet, say
from parity.report.heading import check_heading
from parity.report.style import REFERENCE_COLOR, page_style, plain, short

MOST_ROWS = 24
_ROW = 0.52  # inches
_NAMES, _WORDS = 2.7, 3.5  # inches beside the panel
_WIDEST = 6.0  # margins to either side of zero
_LOOKS: dict[str, dict[str, Any]] = {
    "equivalent": {"color": "#0072B2", "marker": "o"},
    "different": {"color": "#B3261E", "marker": "X"},
    "inconclusive": {"color": "#8A6100", "marker": "s", "markerfacecolor": "white"},
}
UNITS = {"final loss": "nats", "test accuracy": "share", "divergent learning rate": "natural logarithm"}
_OTHER: dict[str, Any] = {"color": "#000000", "marker": "D"}


def drawn_rows(report: CheckReport) -> list[Equivalence]:
    """The answers, as many as a figure can hold: different ones before inconclusive ones before the rest."""
    severity = {"different": 0, "inconclusive": 1}
    kept = sorted(report.equivalences, key=lambda found: severity.get(found.outcome, 2))[:MOST_ROWS]
    return [found for found in report.equivalences if any(found is one for one in kept)]


def mean_differences(report: CheckReport) -> Figure:
    """The mean difference of each quantity with its 90% interval, against the margin: a row for each."""
    with page_style():
        rows, is_wide = drawn_rows(report), not is_narrow()
        outcomes = list(dict.fromkeys(found.outcome for found in rows))
        handles = [
            Line2D([], [], linewidth=1.6, markersize=6, label=plain(f"{name}: mean and 90% interval"), **_look(name))
            for name in outcomes
        ]
        handles.append(Line2D([], [], color=REFERENCE_COLOR, linewidth=1.2, linestyle=(0, (6, 2)), label="margin"))
        handles.append(Line2D([], [], color="#777777", marker="|", linestyle="none", label="one seed"))
        sheet = open_sheet(
            check_heading(report), "Statistical question: candidate minus reference, paired by seed",
            size=(11.0, _ROW * len(rows) + 0.1), handles=handles, left=_NAMES if is_wide else 0.2,
        )  # fmt: skip
        axes = sheet.axes(0, 0, sheet.width - (_WORDS if is_wide else 0.0), sheet.height)
        reach = _reach(rows)
        for place, found in enumerate(rows):
            _draw_row(axes, found, len(rows) - 1 - place, reach)
            _write_row(axes, found, len(rows) - 1 - place, is_wide)
        for x in (-1.0, 1.0):
            axes.axvline(x, color=REFERENCE_COLOR, linewidth=1.2, linestyle=(0, (6, 2)), gid="margin", zorder=1.5)
        axes.axvline(0.0, color="#AAAAAA", linewidth=0.8, zorder=1.2)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_yticks([])
        axes.set_xlabel(
            "mean difference, in margins (half the reference's seed-to-seed standard deviation)", fontsize=8
        )
        return sheet.figure


def _look(outcome: str) -> dict[str, Any]:
    return _LOOKS.get(outcome, _OTHER)


def in_margins(found: Equivalence) -> tuple[float, float, float]:
    """Mean, low and high in units of the margin; not a number where there is no margin."""
    scale = found.margin if found.margin > 0 and np.isfinite(found.margin) else np.nan
    return found.mean / scale, found.low / scale, found.high / scale


def _reach(rows: list[Equivalence]) -> float:
    ends = [abs(value) for found in rows for value in in_margins(found) if np.isfinite(value)]
    return min(max([1.5, *ends]) * 1.08, _WIDEST)


def _draw_row(axes: Axes, found: Equivalence, y: int, reach: float) -> None:
    mean, low, high = in_margins(found)
    look = _look(found.outcome)
    if np.isfinite(mean):
        ends = np.clip([low, high], -reach, reach)
        (interval,) = axes.plot(ends, [y, y], color=look["color"], linewidth=1.6, gid="interval", solid_capstyle="butt")
        say(interval, ())  # its ends may lie beyond the panel; the mean tells them
        for value, side in ((low, -reach), (high, reach)):
            if abs(value) > reach:  # goes on beyond the panel
                axes.plot(
                    [side], [y], marker="<" if side < 0 else ">", markersize=6, color=look["color"], clip_on=False
                )
        if abs(mean) <= reach:
            gid = f"mean: {found.outcome}"
            (mark,) = axes.plot([mean], [y], markersize=8, zorder=4, gid=gid, linestyle="none", **look)
            say(mark, [f"{found.quantity}, {found.setting}: {', '.join(_words(found))}"])
        pairs = _seeds(found)
        axes.plot(pairs[np.abs(pairs) <= reach], np.full((np.abs(pairs) <= reach).sum(), y - 0.25), linestyle="none",
                  marker="|", markersize=5, color="#777777", gid="seeds")  # fmt: skip


def _write_row(axes: Axes, found: Equivalence, y: int, is_wide: bool) -> None:
    """Write what a row is, and its answer: beside it, or in a narrow figure above it."""
    edge: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    unit = UNITS.get(found.quantity)
    lines = (f"{found.quantity}{f' ({unit})' if unit else ''}", str(found.setting).replace("batch norm", "BN"))
    if not is_wide:
        axes.annotate(plain(short(f"{lines[0]}, {lines[1]}", 56)), (0, y), (2, 13), fontsize=7, **edge)
        return
    name = "\n".join(plain(short(line, 44)) for line in lines)
    axes.annotate(name, (0, y), (-6, 0), ha="right", fontsize=7.5, **edge)
    axes.annotate("\n".join(map(plain, _words(found))), (1, y), (8, 0), ha="left", fontsize=8, **edge)


def _seeds(found: Equivalence) -> np.ndarray:
    """The difference of each seed, in margins."""
    candidate, reference = np.asarray(found.candidate, np.float64), np.asarray(found.reference, np.float64)
    if candidate.shape != reference.shape:
        return np.empty(0)
    with np.errstate(all="ignore"):
        pairs = np.ravel((candidate - reference) / found.margin)
    return pairs[np.isfinite(pairs)]


def _words(found: Equivalence) -> tuple[str, str]:
    needed = f": {found.seeds_needed} seeds would settle it" if found.seeds_needed else ""
    if not np.isfinite(found.mean):
        return f"{found.outcome.upper()}{needed}", f"no mean: numbers on both sides at {found.seeds} seeds only"
    interval = f"{found.mean:.3g} [{found.low:.3g}, {found.high:.3g}]"
    return f"{found.outcome.upper()}{needed}", f"{interval}, margin {found.margin:.3g}, {found.seeds} seeds"
