"""Distances and noise floors relative to the tensors' own size, by layer."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from parity.check.records import CheckReport, Measurement
from parity.report.canvas import open_sheet
from parity.report.check_axes import LogScale, Places, by_layer
from parity.report.check_noise import setting_grid, subtitle
from parity.report.check_series import Group
from parity.report.heading import check_heading
from parity.report.style import page_style

_LOOKS: dict[str, dict[str, Any]] = {
    "floor": {"color": "#555555", "marker": "s", "linestyle": (0, (4, 2))},
    "distance": {"color": "#0072B2", "marker": "o", "linestyle": "solid"},
}
_WORDS = {"floor": "noise floor / size", "distance": "distance / size"}
_CROWDED = 15

Band = dict[Hashable, tuple[float, float]]  # by layer: the median and the largest


def has_sizes(group: Group) -> bool:
    """Whether a group holds a tensor that stands above its own floor."""
    return any(is_sized(m) for m in group.measurements)


def is_sized(m: Measurement) -> bool:
    """Whether a tensor stands above its own floor, so that relative numbers mean something."""
    return m.size > m.floor and np.isfinite(m.size)


def relative_by_layer(report: CheckReport, groups: Sequence[Group]) -> Figure:
    """Distance and noise floor over RMS in each layer, median and largest: a panel for each group."""
    with page_style():
        grid = setting_grid(groups, 0.0)
        handles = [Line2D([], [], label=f"{words}: median", linewidth=1.3, markersize=4, **_LOOKS[name])
                   for name, words in _WORDS.items()]  # fmt: skip
        handles += [Line2D([], [], label=f"{words}: largest", linewidth=0.8, alpha=0.7, color=_LOOKS[name]["color"],
                           linestyle=_LOOKS[name]["linestyle"]) for name, words in _WORDS.items()]  # fmt: skip
        sheet = open_sheet(
            check_heading(report),
            f"Distance and noise floor relative to size, by layer: {groups[0].question.replace('_', ' ')} question",
            size=(grid.width(0.2), grid.height), handles=handles, left=0.95,
        )  # fmt: skip
        drawn = {group: (places := by_layer(group.measurements), _bands(group, places)) for group in groups}
        values = [v for _, bands in drawn.values() for band in bands.values() for pair in band.values() for v in pair]
        scale = LogScale.of(values)
        for group, (axes,) in grid.draw(sheet).items():
            scale.apply(axes, labelled=grid.is_first(group))
            places, bands = drawn[group]
            places.apply(axes)
            for name, band in bands.items():
                _draw_band(axes, scale, places, name, band)
            floors = [largest for _, largest in bands["floor"].values()]
            subtitle(axes, f"largest noise floor: {max(floors):.2g} of the tensor's size")
            if grid.is_first(group):
                axes.set_ylabel("share of the tensor's RMS\n(no unit, log scale)")
        return sheet.figure


def _bands(group: Group, places: Places) -> dict[str, Band]:
    found: dict[str, dict[Hashable, list[float]]] = {name: {} for name in _LOOKS}
    for m in filter(is_sized, group.measurements):
        for name, value in (("floor", m.floor), ("distance", m.distance)):
            found[name].setdefault(places.key(m), []).append(value / m.size)
    return {
        name: {key: _median_and_largest(values) for key, values in by_place.items()} for name, by_place in found.items()
    }


def _median_and_largest(values: Sequence[float]) -> tuple[float, float]:
    # A distance that is not a number is as bad as an infinite one.
    ordered = sorted(value if np.isfinite(value) else np.inf for value in values)
    return ordered[len(ordered) // 2], ordered[-1]


def _draw_band(axes: Axes, scale: LogScale, places: Places, name: str, band: Band) -> None:
    look, size = _LOOKS[name], 2.0 if len(places.at) > _CROWDED else 3.5
    ordered = sorted((places.at[key], *pair) for key, pair in band.items())
    x, medians, largest = zip(*ordered, strict=True)
    texts = [f"{_WORDS[name]}: median {low:.2g}, largest {high:.2g}" for _, low, high in ordered]
    scale.draw(
        axes, x, medians, gid=f"{name}: median", texts=texts, linewidth=1.3, markersize=size, clip_on=False, **look
    )
    scale.draw(axes, x, largest, gid=f"{name}: largest", linewidth=0.8, alpha=0.7, **look | {"marker": ""})
