"""Final loss and test accuracy against the learning rate."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from parity.divergence import Status, stuck_loss
from parity.report.canvas import message_sheet, open_sheet, say
from parity.report.heading import sweep_heading, sweep_styles
from parity.report.panels import PanelGrid, depth_words, learning_rate_axis
from parity.report.style import REFERENCE_COLOR, SeriesStyle, log_ticks, page_style, plain
from parity.sweep.records import SweepReport, Trial

TITLE = "Final training loss and test accuracy against the learning rate"
_MARKS: dict[Status, dict[str, Any]] = {
    Status.TRAINED: {"marker": "o"},
    Status.STUCK: {"marker": "s", "markerfacecolor": "white"},
    Status.DIVERGED: {"marker": "x"},
    Status.ERROR: {"marker": "P", "markeredgecolor": "black", "markeredgewidth": 0.5},
}
_FAILURES = (Status.DIVERGED, Status.ERROR)


@dataclass(frozen=True)
class _Quantity:
    """What a panel shows.

    Args:
        name: for people.
        read: takes it from a trial.
        limits: values outside are drawn at the limit.
        worst: what a failed trial counts as in a median.
    """

    name: str
    read: Callable[[Trial], float | None]
    limits: tuple[float, float]
    worst: float

    def value(self, trial: Trial) -> float | None:
        """The trial's value inside the limits; None if it failed or has none."""
        value = self.read(trial)
        if trial.status in _FAILURES or value is None or math.isnan(value):
            return None
        return min(max(value, self.limits[0]), self.limits[1])


def loss_and_accuracy(report: SweepReport) -> Figure:
    """Final training loss above test accuracy, against the learning rate: one pair of panels for each depth."""
    with page_style():
        if not report.trials:
            return message_sheet(sweep_heading(report), TITLE, "nothing finished yet")
        grid = PanelGrid(sorted({trial.group.depth for trial in report.trials}), depth_words, stack=2)
        styles = sweep_styles(report)
        sheet = open_sheet(
            sweep_heading(report), TITLE, size=(grid.width(), grid.height), handles=_handles(report, styles)
        )
        losses = _Quantity("loss", lambda trial: trial.final_loss, _loss_limits(report), math.inf)
        accuracies = _Quantity("accuracy", lambda trial: trial.test_accuracy, (0.0, 1.0), -math.inf)
        for depth, (loss, accuracy) in grid.draw(sheet).items():
            trials = [trial for trial in report.trials if trial.group.depth == depth]
            for rank, (key, style) in enumerate(styles.items()):
                series = [found for found in trials if (found.group.framework, found.group.batch_norm) == key]
                lane = _lane_room(len(styles)) * (rank + 0.5) / len(styles)
                # Broad below narrow: where curves coincide, each still shows.
                breadth = 1 - rank / max(len(styles) - 1, 1)
                _draw_series(loss, report, series, style, losses, 1 - lane, breadth)
                _draw_series(accuracy, report, series, style, accuracies, lane, breadth)
            _label_loss(loss, report, losses.limits, len(styles))
            _label_accuracy(accuracy, report, len(styles))
            if grid.is_first(depth):
                loss.set_ylabel("training loss\n(nats, log scale)")
                accuracy.set_ylabel("test accuracy\n(share)")
        return sheet.figure


def _draw_series(
    axes: Axes, report: SweepReport, series: Sequence[Trial], style: SeriesStyle, quantity: _Quantity,
    lane: float, breadth: float,
) -> None:  # fmt: skip
    """Draw the line of medians, a mark for each trial, and failures in their lane at the panel's edge."""
    several = report.config.num_seeds > 1
    medians = _medians(report, series, quantity)
    (line,) = axes.plot(
        list(medians), list(medians.values()), color=style.color, linestyle=style.dash,
        linewidth=1.2 + 2.0 * breadth, alpha=0.85, gid="median",
    )  # fmt: skip
    say(line, ())  # its marks do
    look: dict[str, Any] = {"color": style.color, "linestyle": "none", "zorder": 3}
    for status, mark in _MARKS.items():
        found = [trial for trial in series if trial.status is status]
        look |= {"gid": status.value}
        if status in _FAILURES:
            rates = [trial.learning_rate for trial in found]
            at_edge = axes.get_xaxis_transform()
            (line,) = axes.plot(rates, [lane] * len(rates), transform=at_edge, markersize=4, **look | mark)
            say(line, [f"{style.label}: {_run_words(trial)} {status}" for trial in found])
        else:
            drawn = [(trial, value) for trial in found if (value := quantity.value(trial)) is not None]
            size = (2.5 if several else 3.5) + 2.0 * breadth
            rates, values = [trial.learning_rate for trial, _ in drawn], [value for _, value in drawn]
            (line,) = axes.plot(rates, values, markersize=size, **look | mark)
            said = ((trial, quantity.read(trial)) for trial, _ in drawn)
            say(line, [f"{style.label}: {_run_words(trial)} {quantity.name} {value:.3g}" for trial, value in said])


def _run_words(trial: Trial) -> str:
    return f"learning rate {trial.learning_rate:.3g}, seed {trial.group.seed}:"


def _medians(report: SweepReport, series: Iterable[Trial], quantity: _Quantity) -> dict[float, float]:
    """The median over seeds at each learning rate; NaN, a gap in the line, where half of the seeds failed."""
    on_grid = {_key(rate) for rate in report.config.learning_rates.values()}
    found: dict[float, list[float]] = {}
    for trial in series:
        # With several seeds a refined learning rate belongs to one of them: no median there.
        if report.config.num_seeds == 1 or _key(trial.learning_rate) in on_grid:
            value = quantity.value(trial)
            found.setdefault(trial.learning_rate, []).append(quantity.worst if value is None else value)
    medians = {rate: median(values) for rate, values in sorted(found.items())}
    return {rate: value if math.isfinite(value) else math.nan for rate, value in medians.items()}


def _key(rate: float) -> str:
    """A learning rate, whichever way it was rounded."""
    return f"{rate:.9g}"


def _loss_limits(report: SweepReport) -> tuple[float, float]:
    """Limits that show every sane loss: from 1e-5 to 20 times the entropy of the labels."""
    reference = report.label_entropy
    losses = [trial.final_loss for trial in report.trials if trial.final_loss is not None]
    seen = [loss for loss in losses if math.isfinite(loss)]
    low = max(min([*seen, reference / 4]), 1e-5)
    high = min(max([*seen, reference * 1.2]), reference * 20)
    return low / 1.3, high * 1.2


def _chance(report: SweepReport) -> float:
    config = report.config
    return 1 / config.model_spec(config.groups()[0]).output_dim


def _label_loss(axes: Axes, report: SweepReport, limits: tuple[float, float], lanes: int) -> None:
    rates, (low, high) = report.config.learning_rates, limits
    room = _lane_room(lanes)
    axes.set_yscale("log")
    axes.set_ylim(low, high * (high / low) ** (room / (1 - room)))
    log_ticks(axes.yaxis, low, high)
    learning_rate_axis(axes, rates.low, rates.high)
    _shade(axes, 1 - room, room)
    axes.axhline(report.label_entropy, color=REFERENCE_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), gid="chance")


def _label_accuracy(axes: Axes, report: SweepReport, lanes: int) -> None:
    rates = report.config.learning_rates
    room = _lane_room(lanes)
    axes.set_ylim(-0.02 - 1.04 * room / (1 - room), 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    learning_rate_axis(axes, rates.low, rates.high)
    _shade(axes, 0, room)
    axes.axhline(_chance(report), color=REFERENCE_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), gid="chance")
    axes.set_xlabel("learning rate (log scale)")


def _shade(axes: Axes, bottom: float, height: float) -> None:
    """The strip of the failed trials, in shares of the panel's height."""
    axes.add_patch(
        Rectangle((0, bottom), 1, height, transform=axes.transAxes, color="#F3F0EA", linewidth=0, zorder=0.1)
    )


def _lane_room(lanes: int) -> float:
    """The share of a panel's height that the lanes of failed trials take."""
    return min(0.02 + 0.055 * lanes, 0.45)


def _handles(report: SweepReport, styles: dict[tuple[str, bool], SeriesStyle]) -> list[Line2D]:
    handles = [Line2D([], [], color=style.color, linestyle=style.dash, label=style.label) for style in styles.values()]
    words = {
        Status.TRAINED: "trained",
        Status.STUCK: f"stuck: finite, final loss not below {stuck_loss(report.label_entropy):.2f} nats",
        Status.DIVERGED: "diverged: no value, drawn at the edge",
        Status.ERROR: "error: crashed, drawn at the edge",
    }
    present = {trial.status for trial in report.trials}
    for status in (status for status in Status if status in present):
        handles.append(
            Line2D([], [], linestyle="none", color="#444444", label=words[status], markersize=5, **_MARKS[status])
        )
    chance = f"ignoring the input: {report.label_entropy:.2f} nats, accuracy {_chance(report):g}"
    handles.append(Line2D([], [], color=REFERENCE_COLOR, linewidth=0.9, linestyle=(0, (4, 3)), label=plain(chance)))
    return handles
