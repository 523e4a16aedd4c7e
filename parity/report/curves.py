"""Training loss against the update."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from parity.divergence import Status
from parity.report.canvas import Sheet, message_sheet, open_sheet, say
from parity.report.heading import sweep_heading
from parity.report.panels import PanelGrid, depth_words
from parity.report.style import REFERENCE_COLOR, batch_norm_words, log_ticks, page_style, plain, short
from parity.sweep.records import SweepReport, Trial

TITLE = "Training loss against the update (seed 0)"
_DASHES = ("solid", (0, (3, 1.5)), (0, (1, 1.2)), (0, (7, 1.5, 1.5, 1.5)))
_MOST_RATES = 7
_COLORS = matplotlib.colormaps["viridis"].resampled(48)  # a bar of 50 or more would be a bitmap
_BAR_ROOM = 0.95  # inches at the right, for the colour bar


def has_curves(report: SweepReport) -> bool:
    """Whether seed 0 has stored losses to draw."""
    return any(_is_drawable(trial) for trial in report.trials)


def moving_average(losses: ArrayLike, keep: float = 0.99) -> NDArray[np.float64]:
    """The lab's moving average: `shown = keep * shown + (1 - keep) * loss`, started at the first loss.

    >>> moving_average([1.0, 2.0], keep=0.5).tolist()
    [1.0, 1.5]
    """
    values = np.asarray(losses, np.float64)
    shown = values.copy()
    for index in range(1, len(values)):
        shown[index] = keep * shown[index - 1] + (1 - keep) * values[index]
    return shown


def training_curves(report: SweepReport) -> Figure:
    """Training loss (moving average) against the update: one panel for each depth and setting of batch norm."""
    with page_style():
        trials = [trial for trial in report.trials if _is_drawable(trial)]
        if not trials:
            return message_sheet(sweep_heading(report), TITLE, "no training losses are stored")
        rates = _chosen_rates(report.config.learning_rates.values())
        trials = [trial for trial in trials if _near(trial.learning_rate, rates)] or trials
        frameworks = sorted({trial.group.framework for trial in trials})
        settings = sorted({trial.group.batch_norm for trial in trials})
        grid = PanelGrid(sorted({trial.group.depth for trial in trials}), depth_words, stack=len(settings))
        sheet = open_sheet(
            sweep_heading(report),
            TITLE,
            size=(grid.width(_BAR_ROOM), grid.height),
            handles=_handles(report, frameworks),
        )
        colors = ScalarMappable(LogNorm(rates[0], rates[-1]), _COLORS)
        limits = _limits(report, trials)
        for depth, cell in grid.draw(sheet, _BAR_ROOM).items():
            for on, axes in zip(settings, cell, strict=True):
                for trial in (one for one in trials if (one.group.depth, one.group.batch_norm) == (depth, on)):
                    look = _look(frameworks.index(trial.group.framework), len(frameworks))
                    color = colors.to_rgba(np.asarray(trial.learning_rate))
                    _draw_trial(axes, trial, report.title(trial.group.framework), color, look, limits)
                _label(axes, report, on, limits)
                if grid.is_first(depth):
                    axes.set_ylabel("training loss\n(nats, log scale)")
            cell[-1].set_xlabel("update")
        _draw_bar(sheet, colors, rates)
        return sheet.figure


def _is_drawable(trial: Trial) -> bool:
    return trial.group.seed == 0 and len(trial.losses) > 0


def _chosen_rates(rates: Sequence[float]) -> list[float]:
    """At most seven of the grid's learning rates, spread over it, both ends included."""
    places = np.linspace(0, len(rates) - 1, min(_MOST_RATES, len(rates)))
    return [rates[round(place)] for place in places]


def _near(rate: float, rates: Iterable[float]) -> bool:
    return any(math.isclose(rate, other, rel_tol=1e-9) for other in rates)


def _look(index: int, count: int) -> dict[str, Any]:
    """The first of several frameworks is broad and pale, so that a curve on top of it leaves both visible."""
    if index == 0 and count > 1:
        return {"linestyle": "solid", "linewidth": 2.8, "alpha": 0.45}
    return {"linestyle": _DASHES[index % len(_DASHES)], "linewidth": 1.2}


def _draw_trial(
    axes: Axes, trial: Trial, title: str, color: Any, look: dict[str, Any], limits: tuple[float, float]
) -> None:
    run = trial.losses if trial.steps is None else trial.losses[: max(trial.steps, 1)]
    shown = moving_average(run)
    updates = np.arange(1, len(shown) + 1)
    finite = np.isfinite(shown)
    (line,) = axes.plot(updates[finite], shown[finite], color=color, gid="curve", **look)
    run_words = f"{title}, learning rate {trial.learning_rate:.3g}"
    say(line, [f"{run_words}, update {n}: loss {v:.3g}" for n, v in zip(updates[finite], shown[finite], strict=True)])
    if trial.status is Status.DIVERGED:
        last = int(np.flatnonzero(finite)[-1]) if finite.any() else 0
        height = min(max(shown[last], limits[0]), limits[1]) if finite.any() else limits[1]
        (cross,) = axes.plot(
            [last + 1], [height], marker="x", markersize=6, color=color, clip_on=False, zorder=4, gid="left",
            markeredgewidth=1.6,
        )  # fmt: skip
        say(cross, [f"{run_words}: diverged at update {trial.steps or last + 1}"])


def _limits(report: SweepReport, trials: Iterable[Trial]) -> tuple[float, float]:
    """Limits that hold every sane loss: from 1e-4 to ten times the entropy of the labels."""
    reference = report.label_entropy
    losses = np.concatenate([moving_average(trial.losses) for trial in trials])
    seen = losses[np.isfinite(losses)].tolist()
    low = max(min([*seen, reference / 4]), 1e-4)
    high = min(max([*seen, reference * 1.2]), reference * 10)
    return low / 1.2, high * 1.2


def _label(axes: Axes, report: SweepReport, on: bool, limits: tuple[float, float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    axes.set_xlim(left=0)
    log_ticks(axes.yaxis, *limits)
    axes.axhline(report.label_entropy, color=REFERENCE_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), gid="chance")
    axes.text(0.98, 0.97, batch_norm_words(on), transform=axes.transAxes, ha="right", va="top", fontsize=8,
              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5})  # fmt: skip


def _draw_bar(sheet: Sheet, colors: ScalarMappable, rates: Sequence[float]) -> None:
    height = min(sheet.height - 0.25, 3.5)
    axes = sheet.axes(sheet.width - _BAR_ROOM + 0.25, sheet.height - 0.25 - height, 0.16, height)
    bar = sheet.figure.colorbar(colors, cax=axes)
    bar.set_ticks(list(rates), labels=[f"{float(f'{rate:.2g}'):g}" for rate in rates])
    bar.minorticks_off()
    bar.set_label("learning rate (log scale)")


def _handles(report: SweepReport, frameworks: Sequence[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color="#444444", label=plain(short(report.title(name))), **_look(index, len(frameworks)))
        for index, name in enumerate(frameworks)
    ]
    cross: dict[str, Any] = {"linestyle": "none", "marker": "x", "color": "#444444", "markeredgewidth": 1.6}
    handles.append(Line2D([], [], label="cross: diverged at this update", **cross))
    entropy = f"ignoring the input: {report.label_entropy:.2f} nats"
    handles.append(Line2D([], [], color=REFERENCE_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), label=entropy))
    return handles
