"""The sweep's phase diagram: what becomes of a network, by its depth and learning rate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from parity.divergence import Status
from parity.lab.blocks import Plot, Results, Section, Table, Text, listed
from parity.lab.config import SEED, WIDTH, LabConfig, lab_data
from parity.lab.drawing import lab_sheet
from parity.machine import usable_cores
from parity.report.boundaries import DIVERGENT, USEFUL, Boundary, median_rate, rate_text
from parity.report.canvas import is_narrow, say
from parity.report.style import batch_norm_words, log_ticks, page_style, plain
from parity.sweep import Group, SweepConfig, Threshold, Trial
from parity.sweep.ahead import compiling_ahead, lower_family
from parity.sweep.thresholds import find_threshold
from parity.sweep.train import train

TITLE = "Depth by learning rate"
INTRODUCTION = """\
The sweep, seen from above. A cell is the training of one network at one learning rate; a row is a depth. Its colour is what became
of it:

- *trained*, and to which loss;
- *stuck*: finite, but hardly better than a network that ignores its input;
- *diverged*: a number that is not finite, or a loss far above its start.

The border between trained and failed is the **divergent learning rate**. The **largest useful** one, below it, still keeps half of
what the best one gains. The sweep bisects the border from a coarser grid; here the grid is fine, and the border is seen whole."""

PASSES = 1
SCALE = ListedColormap(colormaps["viridis_r"](np.linspace(0, 0.75, 256)))  # its darkest is like what diverged
_COLORS = {Status.STUCK: "#C9C9C9", Status.DIVERGED: "#6E1423", Status.ERROR: "#000000"}
_WORDS = {Status.STUCK: "stuck", Status.DIVERGED: "diverged", Status.ERROR: "crashed"}


@dataclass(frozen=True)
class Measured:
    """The grid of one framework.

    Args:
        trials: of each depth and seed, with and without batch norm, in the order of the learning rates.
        label_entropy: the loss of a network that ignores its input, in nats.
    """

    trials: Mapping[Group, Sequence[Trial]]
    label_entropy: float

    def thresholds(self) -> dict[Group, Threshold]:
        """The boundary between training and failing, where the grid holds it."""
        found = {group: find_threshold(group, trials, self.label_entropy) for group, trials in self.trials.items()}
        return {group: threshold for group, threshold in found.items() if threshold is not None}


def measure(backend: Any, config: LabConfig) -> Measured:
    """Train every learning rate of the grid at every depth, with and without batch norm."""
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    sweep_config = SweepConfig(
        frameworks=(backend.name,),
        depths=config.diagram_depths,
        learning_rates=config.diagram_rates,
        num_seeds=config.seeds,
        num_passes=PASSES,
        dataset=config.dataset,
        fraction=config.fraction,
        population_size=-(-config.diagram_rates.count // usable_cores()),
    )
    families, trials = sweep_config.families(), {}
    lowerings = {family: partial(lower_family, backend, sweep_config, family, data, ()) for family in families}
    with compiling_ahead(lowerings) as wait_for:
        for family in families:
            wait_for(family)
            wanted = {group: config.diagram_rates.values() for group in family}
            trained = train(backend, sweep_config, wanted, data, evaluated_on=())
            trials |= {group: tuple(found.values()) for group, found in trained.items()}
    return Measured(trials, data.label_entropy)


def divergent(results: Results) -> dict[tuple[str, int, bool], float | None]:
    """The smallest divergent learning rate by framework, depth and batch norm, the median over seeds; None where none
    failed, or none trained."""
    found = {
        (name, *key): median_rate(values)
        for name, result in results.items()
        for key, values in boundary_values(result, DIVERGENT).items()
        if values
    }
    return {key: value if 0 < value < math.inf else None for key, value in found.items()}


def divergent_words(results: Results, config: LabConfig) -> dict[tuple[str, int, bool], str]:
    """`divergent` in words, with its range over seeds; they tell where none failed from where none trained."""
    return {
        (name, *key): rate_words(values, DIVERGENT, config)
        for name, result in results.items()
        for key, values in boundary_values(result, DIVERGENT).items()
    }


def boundary_values(found: Measured, boundary: Boundary) -> dict[tuple[int, bool], list[float]]:
    """A boundary of each seed, by depth and batch norm; none where every training crashed."""
    thresholds = found.thresholds()
    values: dict[tuple[int, bool], list[float]] = {(group.depth, group.batch_norm): [] for group in found.trials}
    for group, threshold in thresholds.items():
        values[group.depth, group.batch_norm].append(boundary.value(threshold))
    return values


def rate_words(values: Sequence[float], boundary: Boundary, config: LabConfig) -> str:
    """The median of a boundary over seeds, and its range."""
    if not values:
        return "all crashed"
    ends = min(values), max(values)
    low, middle, high = (
        rate_text(value, config.diagram_rates.high, boundary.none) for value in (ends[0], median_rate(values), ends[1])
    )
    if low == high:
        return low
    return f"{middle} ({low} to {high})" if ends[0] > 0 and ends[1] < math.inf else f"{low} or {high}"


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    found, names = divergent(results), list(results)
    trials = [trial for result in results.values() for own in result.trials.values() for trial in own]
    counts = {status: sum(trial.status is status for trial in trials) for status in Status}
    header = (
        "depth",
        "batch norm",
        *(word for n in names for word in (f"{n}: smallest divergent", f"{n}: largest useful")),
    )
    blocks = (
        Text(
            f"{len(trials):,} trainings in {listed(names)}: {counts[Status.TRAINED]:,} trained, {counts[Status.STUCK]:,} got "
            f"stuck, {counts[Status.DIVERGED]:,} diverged. Each had {PASSES} pass over its data: what is stuck may only be slow.\n\n{_comparison(found, config, names)}"
        ),
        Plot(
            "depth_by_learning_rate",
            partial(_draw, results, config, command),
            "A grid of depth by learning rate for each framework, with and without batch norm, coloured by what became of "
            "each training.",
            "Yellow to blue: trained, from the lowest loss to that of a network that ignores its input. Grey: stuck. Dark red: "
            "diverged. The white bar stands at the first learning rate that fails, by diverging or by being stuck above one that "
            "trained; some larger ones train all the same, for the border is no line. Rows are depths, not to scale; the first seed is shown.",
        ),
        Table(
            "divergent_rates",
            f"The smallest divergent learning rate, and the largest useful one below it, in {PASSES} pass: the median of "
            f"{config.seeds} seeds (and its range, where they differ).",
            header,
            _rows(results, config),
            words=2,
        ),
    )
    return Section("phase_diagram", TITLE, INTRODUCTION, blocks)


def _rows(results: Results, config: LabConfig) -> tuple[tuple[str, ...], ...]:
    values = {
        (n, boundary): boundary_values(r, boundary) for n, r in results.items() for boundary in (DIVERGENT, USEFUL)
    }
    return tuple(
        (str(depth), "on" if on else "off",
         *(rate_words(values[name, boundary][depth, on], boundary, config) for name in results for boundary in (DIVERGENT, USEFUL)))
        for depth in config.diagram_depths for on in (False, True)
    )  # fmt: skip


def _comparison(found: dict[tuple[str, int, bool], float | None], config: LabConfig, names: list[str]) -> str:
    both = [
        (with_norm / without, depth)
        for name in names
        for depth in config.diagram_depths
        if (with_norm := found.get((name, depth, True))) and (without := found.get((name, depth, False)))
    ]
    if not both:
        return "At no depth did both networks have a divergent learning rate."
    low, high = min(both)[0], max(both)[0]
    return f"Where both have one, the divergent learning rate with batch norm is {low:.2g} to {high:.2g} times that without."


def cells(found: Measured, config: LabConfig, on: bool) -> list[Sequence[Trial]]:
    """The first seed's trials with or without batch norm: a row for each depth, a column for each learning rate."""
    own = {group: trials for group, trials in found.trials.items() if (group.batch_norm, group.seed) == (on, SEED)}
    by_depth = {group.depth: trials for group, trials in own.items()}
    return [by_depth[depth] for depth in config.diagram_depths]


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    trials = [trial for result in results.values() for own in result.trials.values() for trial in own]
    losses = [trial.final_loss for trial in trials if trial.status is Status.TRAINED and trial.final_loss]
    highest = max(next(iter(results.values())).label_entropy, 0.01)
    norm = LogNorm(min(max(min(losses, default=1.0), 1e-3), highest / 2), highest)
    handles: list[Any] = [
        Patch(facecolor=color, label=_WORDS[status]) for status, color in _COLORS.items() if status is not Status.ERROR
    ]
    outline = [withStroke(linewidth=3, foreground="black")]
    handles.append(
        Line2D([], [], color="white", linewidth=1.5, label="smallest divergent learning rate", path_effects=outline)
    )
    setting = (
        f"{config.fraction:.0%} of its training set; width {WIDTH}, batches of {SweepConfig.batch_size}, plain SGD, "
        f"{PASSES} pass, seed {SEED}"
    )
    panels = list(product(results.items(), (False, True)))
    columns = 1 if is_narrow() else 2
    row_height, rows = 0.21 * len(config.diagram_depths) + 0.75, len(panels) // columns
    height = rows * row_height - 0.4
    sheet = lab_sheet("What becomes of a network", setting, command, height, handles, width=9.5, dataset=config.dataset)
    with page_style():
        width = (sheet.width - 0.7) / columns - 0.3
        for number, ((name, result), on) in enumerate(panels):
            row, column = divmod(number, columns)
            axes = sheet.axes(column * (width + 0.3), (rows - 1 - row) * row_height, width, row_height - 0.75)
            _draw_cells(axes, result, config, on, norm)
            axes.set_title(f"{plain(name)}, {batch_norm_words(on)}", loc="left", fontsize=9.5)
            if column == 0:
                axes.set_ylabel("depth")
            else:
                axes.tick_params(labelleft=False)
            if row == rows - 1:
                axes.set_xlabel("learning rate (log scale)")
        _draw_scale(sheet.axes(columns * (width + 0.3) - 0.1, 0, 0.14, min(sheet.height - 0.3, 3.0)), norm)
    return sheet.figure


def _draw_cells(axes: Axes, result: Measured, config: LabConfig, on: bool, norm: LogNorm) -> None:
    rates, depths = np.array(config.diagram_rates.values()), config.diagram_depths
    half = (rates[-1] / rates[0]) ** (0.5 / max(len(rates) - 1, 1))
    edges = np.array([*(rates / half), rates[-1] * half])
    trials = cells(result, config, on)
    colors = [
        [to_rgb(_COLORS.get(trial.status) or SCALE(norm(trial.final_loss or 0.0))) for trial in row] for row in trials
    ]
    mesh = axes.pcolormesh(edges, np.arange(len(depths) + 1) - 0.5, colors)
    say(mesh, [_trial_words(trial) for row in trials for trial in row])
    for group, threshold in result.thresholds().items():
        if (group.batch_norm, group.seed) == (on, SEED) and threshold.smallest_divergent:
            row = depths.index(group.depth)
            ends = [threshold.smallest_divergent] * 2, [row - 0.5, row + 0.5]
            for color, width in (("#010101", 3), ("#fefefe", 1.5)):  # on a dark page too
                (line,) = axes.plot(*ends, color=color, linewidth=width, solid_capstyle="butt")
                say(line, ())
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(False)
    log_ticks(axes.xaxis, rates[0], rates[-1])
    axes.set_yticks(range(len(depths)), [str(depth) for depth in depths])
    axes.tick_params(labelsize=8, length=2)


def _trial_words(trial: Trial) -> str:
    loss = "" if trial.final_loss is None else f", loss {trial.final_loss:.3g}"
    return f"depth {trial.group.depth}, learning rate {trial.learning_rate:.3g}: {trial.status}{loss}"


def _draw_scale(axes: Axes, norm: LogNorm) -> None:
    values = np.geomspace(norm.vmin or 1e-3, norm.vmax or 1.0, 129)
    axes.pcolormesh([0, 1], values, SCALE(norm(values[:-1]))[:, None, :3])
    axes.set_yscale("log")
    log_ticks(axes.yaxis, values[0], values[-1])
    axes.yaxis.tick_right()
    axes.set_xticks([])
    axes.set_title("loss", fontsize=8.5, loc="left")
