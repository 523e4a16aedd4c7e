"""The divergent and the useful learning rate against depth."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from parity.report.boundaries import (
    DIVERGENT,
    USEFUL,
    Boundary,
    boundary_cell,
    median_rate,
    threshold_value,
    useful_value,
)
from parity.report.canvas import message_sheet, open_sheet, say
from parity.report.heading import sweep_heading, sweep_styles
from parity.report.style import REFERENCE_COLOR, SeriesStyle, log_ticks, page_style
from parity.sweep.records import SweepReport, Threshold

TITLE = "Smallest divergent learning rate against depth"
_SPREAD = 0.3  # over which the series of one depth stand, so that none hides another; depths are 1 apart


def divergent_learning_rate(report: SweepReport) -> Figure:
    """The smallest divergent learning rate against depth, by framework and batch norm, and the largest useful one.

    A filled marker is the median over seeds, a broad bar its range, and a thin bar reaches down to the largest useful
    learning rate. An open marker at the grid's edge is a bound, not a value.
    """
    with page_style():
        if not report.thresholds:
            return message_sheet(sweep_heading(report), TITLE, "nothing finished yet")
        depths = sorted({threshold.group.depth for threshold in report.thresholds})
        styles = sweep_styles(report)
        sheet = open_sheet(
            sweep_heading(report),
            TITLE,
            size=(max(7.5, 1.6 + 0.75 * len(depths)), 4.2),
            handles=_handles(report, styles),
        )
        axes = sheet.axes(0, 0, sheet.width, sheet.height)
        for place, (key, style) in enumerate(styles.items()):
            shift = _SPREAD * ((place + 0.5) / len(styles) - 0.5)
            series = [found for found in report.thresholds if (found.group.framework, found.group.batch_norm) == key]
            _draw_series(axes, report, series, style, {depth: index + shift for index, depth in enumerate(depths)})
        _label(axes, report, depths)
        return sheet.figure


def _inside(report: SweepReport, value: float) -> float:
    """A value, or the edge of the grid beyond which it lies."""
    rates = report.config.learning_rates
    return min(max(value, rates.low), rates.high)


def _is_number(value: float) -> bool:
    return 0 < value < math.inf


def _draw_series(
    axes: Axes, report: SweepReport, series: list[Threshold], style: SeriesStyle, places: dict[int, float]
) -> None:
    by_depth: dict[int, list[Threshold]] = {}
    for threshold in sorted(series, key=lambda found: found.group.depth):
        by_depth.setdefault(threshold.group.depth, []).append(threshold)
    medians = {depth: median_rate(map(threshold_value, found)) for depth, found in by_depth.items()}
    (line,) = axes.plot(
        [places[depth] for depth in medians],
        # The line stops at a bound: going on to the grid's edge it would read as a value.
        [median if _is_number(median) else math.nan for median in medians.values()],
        color=style.color, linestyle=style.dash, alpha=0.85, gid="median",
    )  # fmt: skip
    say(line, ())  # its marks do
    for depth, found in by_depth.items():
        marks = _draw_depth(axes, report, found, style, places[depth])
        for boundary, mark in marks.items():
            text = boundary_cell([boundary.value(each) for each in found], report, boundary).text
            say(mark, [f"{style.label}, depth {depth}: {boundary.name} {text}"])


def _draw_depth(
    axes: Axes, report: SweepReport, found: list[Threshold], style: SeriesStyle, place: float
) -> dict[Boundary, Line2D]:
    """Draw what was found at one depth, and return the mark of each boundary."""
    marks: dict[Boundary, Line2D] = {}
    values = [threshold_value(threshold) for threshold in found]
    median, useful = median_rate(values), median_rate(map(useful_value, found))
    shown, low, high = (_inside(report, value) for value in (median, min(values), max(values)))
    if low < high:
        axes.vlines(place, low, high, color=style.color, linewidth=5, alpha=0.35, gid="range")
    if _is_number(useful):
        axes.vlines(place, useful, shown, color=style.color, linewidth=1.2, gid="useful")
        end: dict[str, Any] = {"color": style.color, "marker": "_", "markersize": 8, "linestyle": "none"}
        (marks[USEFUL],) = axes.plot([place], [useful], gid="useful", **end)
    look: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 5.5, "linestyle": "none"}
    if _is_number(median):
        (marks[DIVERGENT],) = axes.plot([place], [shown], gid="value", **look)
        return marks
    rises = median > 0
    axes.annotate(
        "", xy=(place, shown), xytext=(0, 15 if rises else -15), textcoords="offset points", annotation_clip=False,
        arrowprops={"arrowstyle": "<-", "color": style.color, "shrinkA": 0, "shrinkB": 3},
        gid="up" if rises else "down",
    )  # fmt: skip
    (marks[DIVERGENT],) = axes.plot([place], [shown], markerfacecolor="white", zorder=3, gid="bound", **look)
    return marks


def _limits(report: SweepReport) -> tuple[float, float]:
    """The part of the grid that holds the boundaries, and the grid's edge where one lies beyond it."""
    rates = report.config.learning_rates
    values = [_inside(report, threshold_value(threshold)) for threshold in report.thresholds]
    values += [value for threshold in report.thresholds if _is_number(value := useful_value(threshold))]
    return max(min(values) / 5, rates.low), min(max(values) * 5, rates.high)


def _label(axes: Axes, report: SweepReport, depths: list[int]) -> None:
    low, high = _limits(report)
    margin = (high / low) ** 0.1
    axes.set_yscale("log")
    axes.set_ylim(low / margin, high * margin)
    log_ticks(axes.yaxis, low, high)
    _mark_grid_edges(axes, report, low, high)
    axes.set_xlim(-0.5, len(depths) - 0.5)
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.grid(visible=False, axis="x")
    for index in range(1, len(depths)):
        axes.axvline(index - 0.5, color="#EDEDED", linewidth=0.8, zorder=0.4)
    axes.set_xlabel("depth (hidden layers; evenly spaced, not to scale)")
    axes.set_ylabel("learning rate of plain SGD (no unit, log scale)")


def _mark_grid_edges(axes: Axes, report: SweepReport, low: float, high: float) -> None:
    """Name the ends of the grid, on the inner side: the arrows of bounds point outwards."""
    rates = report.config.learning_rates
    for edge, words, place in ((rates.low, "lowest", "left"), (rates.high, "highest", "right")):
        if low <= edge <= high:
            axes.axhline(edge, color="#8A8A8A", linewidth=0.8, linestyle=(0, (2, 3)), zorder=0.5)
            axes.annotate(
                f" {words} learning rate of the grid", (0 if place == "left" else 1, edge),
                (0, 3 if place == "left" else -3), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha=place, va="bottom" if place == "left" else "top", fontsize=7.5, color=REFERENCE_COLOR,
            )  # fmt: skip


def _handles(report: SweepReport, styles: dict[tuple[str, bool], SeriesStyle]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.dash, label=style.label)
        for style in styles.values()
    ]
    grey: dict[str, Any] = {"color": "#444444", "linestyle": "none"}
    if any(_is_number(useful_value(threshold)) for threshold in report.thresholds):
        handles.append(Line2D([], [], marker="|", markersize=10, label="thin bar: down to the largest useful", **grey))
    if report.config.num_seeds > 1:
        handles.append(Line2D([], [], color="#444444", linewidth=5, alpha=0.35, label="broad bar: range over seeds"))
    meanings = {
        math.inf: "open, arrow up: none of the grid failed",
        0.0: "open, arrow down: none of the grid trained",
    }
    seen = {threshold_value(threshold) for threshold in report.thresholds}
    handles += [
        Line2D([], [], marker="o", markerfacecolor="white", label=words, **grey)
        for value, words in meanings.items()
        if value in seen
    ]
    return handles
