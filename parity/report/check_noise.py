"""Distances in units of the noise floor, by layer and by step."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from parity.check.records import CheckReport, Measurement
from parity.check.screen import place
from parity.check.words import number_words
from parity.report.canvas import is_narrow, open_sheet
from parity.report.check_axes import RING, LogScale, Places, by_layer, by_step
from parity.report.check_series import Group, Kind, excess, is_beyond, kind_of, worst_by
from parity.report.heading import check_heading
from parity.report.panels import PanelGrid
from parity.report.style import REFERENCE_COLOR, page_style, plain, short

_LOOKS: dict[Kind, dict[str, Any]] = {
    Kind.FORWARD: {"color": "#0072B2", "marker": "o"},
    Kind.STATISTICS: {"color": "#7F3C66", "marker": "D"},
    Kind.GRADIENTS: {"color": "#D55E00", "marker": "s"},
    Kind.UPDATES: {"color": "#009E73", "marker": "^"},
    Kind.EVALUATION: {"color": "#B58900", "marker": "v"},
    Kind.STATE: {"color": "#000000", "marker": "P"},
}
_LIMIT: dict[str, Any] = {"color": "#B3261E", "linewidth": 1.3, "linestyle": (0, (6, 2))}
_FLOOR: dict[str, Any] = {"color": REFERENCE_COLOR, "linewidth": 1.0, "linestyle": (0, (1, 1.5))}
_CROWDED = 24  # places; with more of them, kinds are not moved apart


def noise_by_layer(report: CheckReport, groups: Sequence[Group]) -> Figure:
    """The worst distance over floor of each kind of tensor in each layer: a panel for each group."""
    return _draw(report, groups, by_layer, "by layer", foot=0.0)


def noise_by_step(report: CheckReport, groups: Sequence[Group]) -> Figure:
    """The worst distance over floor of each kind of tensor in each update and probe: a panel for each group."""
    return _draw(report, groups, by_step, "by update and probe", foot=0.6)


def setting_grid(groups: Sequence[Group], foot: float) -> PanelGrid[Group]:
    """Wide panels, two in a row, with room for a line below the title and for slanted names at the foot."""
    return PanelGrid(
        groups, lambda group: short(str(group.setting), 52), most_columns=2, panel=(4.6, 2.0), row_gap=1.05 + foot,
        head=0.42, foot=foot,
    )  # fmt: skip


def subtitle(axes: Axes, text: str) -> None:
    """A line of small print between a panel and its title; in a narrow figure both begin at its edge."""
    narrow = is_narrow()
    indent = 60 if narrow else 0  # points
    width = axes.bbox.transformed(axes.figure.dpi_scale_trans.inverted()).width * 72
    title = {"fontsize": 8 if narrow else 9, "fontweight": "bold", "pad": 17, "x": -indent / width}
    axes.set_title(axes.get_title(loc="left"), loc="left", **title)
    axes.annotate(plain(short(text, 62 if narrow else 84)), (0, 1), (-indent, 6), xycoords="axes fraction",
                  textcoords="offset points", fontsize=7 if narrow else 7.5, color="#333333")  # fmt: skip


def _draw(
    report: CheckReport,
    groups: Sequence[Group],
    places: Callable[[Sequence[Measurement]], Places],
    words: str,
    foot: float,
) -> Figure:
    with page_style():
        grid = setting_grid(groups, foot)
        sheet = open_sheet(
            check_heading(report),
            f"Distance over noise floor {words}: {groups[0].question.replace('_', ' ')} question",
            size=(grid.width(0.2), grid.height),
            handles=_handles(report, groups),
            left=0.95,
        )
        drawn = {group: (across := places(group.measurements), _series(group, across)) for group in groups}
        values = [y for _, found in drawn.values() for points in found.values() for _, y, _ in points]
        scale = LogScale.of(values, (1.0, report.safety))
        for group, (axes,) in grid.draw(sheet).items():
            scale.apply(axes, labelled=grid.is_first(group))
            across, series = drawn[group]
            across.apply(axes)
            axes.axhline(report.safety, gid="limit", zorder=1.5, **_LIMIT)
            axes.axhline(1.0, gid="floor", zorder=1.5, **_FLOOR)
            for kind, points in series.items():
                _draw_series(axes, report, kind, points, scale, crowded=len(across.at) > _CROWDED)
            subtitle(axes, f"worst {number_words(group.worst.times_noise)} × floor: {place(group.worst)}")
            if grid.is_first(group):
                axes.set_ylabel("distance / noise floor\n(no unit, log scale)")
        return sheet.figure


Point = tuple[float, float, str]  # place, value, text


def _series(group: Group, places: Places) -> dict[Kind, list[Point]]:
    """The worst multiple of the floor at each place, by kind."""
    kinds = [kind for kind in Kind if any(kind_of(m) is kind for m in group.measurements)]
    found = {}
    for rank, kind in enumerate(kinds):
        worst = worst_by((m for m in group.measurements if kind_of(m) is kind), places.key)
        # Kinds stand side by side, so that points that coincide still show.
        shift = 0.0 if len(places.at) > _CROWDED else 0.11 * (rank - (len(kinds) - 1) / 2)
        found[kind] = sorted(
            (places.at[key] + shift, excess(m), f"{place(m)}: {number_words(excess(m))} times the noise floor")
            for key, m in worst.items()
        )
    return found


def _draw_series(
    axes: Axes, report: CheckReport, kind: Kind, points: list[Point], scale: LogScale, *, crowded: bool
) -> None:
    x, y, texts = zip(*points, strict=True)
    scale.draw(axes, x, y, gid=kind.name, texts=texts, linewidth=0.7, alpha=0.9, zorder=3, clip_on=False,
               markersize=2.4 if crowded else 4, **_LOOKS[kind])  # fmt: skip
    failed = [(at, value) for at, value, _ in points if is_beyond(report, value)]
    if failed:
        scale.ring(axes, *zip(*failed, strict=True), size=5 if crowded else 9)


def _handles(report: CheckReport, groups: Sequence[Group]) -> list[Line2D]:
    present = {kind_of(m) for group in groups for m in group.measurements}
    handles = [
        Line2D([], [], linewidth=0.7, markersize=4, label=kind, **_LOOKS[kind]) for kind in Kind if kind in present
    ]
    handles.append(Line2D([], [], label=f"limit: {report.safety:g} × noise floor", **_LIMIT))
    handles.append(Line2D([], [], label="noise floor", **_FLOOR))
    if any(group.beyond for group in groups):
        handles.append(Line2D([], [], label="ring: beyond the limit", **RING))
    return handles
