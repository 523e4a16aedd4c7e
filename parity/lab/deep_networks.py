"""Deep networks, and what helps them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from parity.data import IndexStream, MaskStream, StandardizedData, mask_arguments
from parity.lab.blocks import Plot, Results, Section, Table, Text, listed
from parity.lab.config import SEED, WIDTH, LabConfig, lab_data
from parity.lab.drawing import COLORS, MARKERS, lab_sheet
from parity.report.panels import PanelGrid, depth_words, learning_rate_axis
from parity.report.style import page_style, plain
from parity.spec import BlockOrder, Initialization, ModelSpec
from parity.sweep import Status
from parity.sweep.ahead import compiling_ahead
from parity.sweep.classify import classify
from parity.weights import draw_weights

TITLE = "Deep networks and their remedies"
INTRODUCTION = """\
From PyTorch's usual initial weights, uniform within `1 / sqrt(fan_in)`, a weight's variance is `1 / (3 fan_in)`, and ReLU
keeps half of a mean square: without batch norm the signal's mean square falls to a sixth in every layer, but for the biases,
and the gradient's on its way back, until neither tells anything. What is held to help:

- **Careful initial weights.** He's, normal with variance 2 / fan_in, keep the mean square of activations through ReLU;
  orthogonal ones keep lengths before it.
- **Batch norm** resets the scale in every layer, at the price of the gradient's growth (above).
- **Batch norm before the activation**, as in the paper, rather than after it, as in the lab.
- **Residual connections**: a block adds its input to what it gives, so signal and gradient have a way past it.
- **Dropout** is a remedy for overfitting; every layer of it adds noise, so a deep network has more of it.
- **A tuned learning rate.** Each of these has its own best one, so each is shown at it, beside one rate for all.

Dropout's masks come from one NumPy stream, so both frameworks drop the same units, and the numbers can be compared."""

PASSES = 1
RATES = tuple(float(rate) for rate in np.geomspace(0.01, 10**0.5, 6))  # half decades
BATCH_SIZE = 32
TEST_SAMPLES = 4000
FIXED_RATE = 0.1


@dataclass(frozen=True)
class Remedy:
    """A network that is tried.

    Args:
        name: in words.
        batch_norm: whether it has batch norm.
        options: of `ModelSpec`, where they differ from the lab's.
    """

    name: str
    batch_norm: bool
    options: Mapping[str, Any]

    def spec(self, depth: int) -> ModelSpec:
        """The network of so many hidden layers."""
        return ModelSpec(num_hidden_layers=depth, use_batch_norm=self.batch_norm, **self.options)


REMEDIES = (
    Remedy("nothing", False, {}),
    Remedy("He's initial weights", False, {"initialization": Initialization.HE_NORMAL}),
    Remedy("orthogonal initial weights", False, {"initialization": Initialization.ORTHOGONAL}),
    Remedy("residual", False, {"residual": True}),
    Remedy("batch norm (the lab's)", True, {}),
    Remedy("batch norm before ReLU", True, {"block_order": BlockOrder.NORM_FIRST}),
    Remedy("batch norm, residual", True, {"residual": True}),
    Remedy("batch norm, dropout 0.1", True, {"dropout_rate": 0.1}),
)


@dataclass(frozen=True)
class Curve:
    """What became of one network at every learning rate.

    Args:
        accuracy: on the test set; NaN where training diverged.
        trained: whether the final loss is below that of a network that ignores its input.
    """

    accuracy: tuple[float, ...]
    trained: tuple[bool, ...]

    @property
    def best(self) -> int:
        """The place of the learning rate of the highest test accuracy; the first if there is none."""
        return int(np.argmax(np.nan_to_num(self.accuracy, nan=-1.0)))


Measured = Mapping[tuple[int, str], Curve]
"""By depth and name of the remedy."""


def measure(backend: Any, config: LabConfig) -> Measured:
    """Train every network at every learning rate; the programs of the next are compiled meanwhile.

    Networks that differ in their initial weights alone are one population.
    """
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    some = slice(TEST_SAMPLES)
    data = replace(data, test_inputs=data.test_inputs[some], test_labels=data.test_labels[some])
    jobs = {(depth, place): (depth, alike) for place, alike in enumerate(_alike()) for depth in config.remedy_depths}
    found: dict[tuple[int, str], Curve] = {}
    with compiling_ahead({key: partial(_lower, backend, *job, data) for key, job in jobs.items()}) as wait_for:
        for key, (depth, alike) in jobs.items():
            wait_for(key)
            found |= {(depth, name): curve for name, curve in _train(backend, depth, alike, data).items()}
    return found


def _alike() -> list[list[Remedy]]:
    """The remedies, those alike that differ in their initial weights alone: they are one program."""
    found: dict[Any, list[Remedy]] = {}
    for remedy in REMEDIES:
        options = {name: value for name, value in remedy.options.items() if name != "initialization"}
        found.setdefault((remedy.batch_norm, *sorted(options.items())), []).append(remedy)
    return list(found.values())


def _lower(backend: Any, depth: int, alike: Sequence[Remedy], data: StandardizedData) -> Sequence[Callable[[], Any]]:
    if not hasattr(backend, "lower_ahead"):
        return []
    return backend.lower_ahead(
        alike[0].spec(depth),
        members=len(alike) * len(RATES),
        lanes=1,
        samples=len(data.train_labels),
        dtype="float32",
        batch_size=BATCH_SIZE,
        evaluated=(len(data.test_labels),),
    )


def _train(backend: Any, depth: int, alike: Sequence[Remedy], data: StandardizedData) -> dict[str, Curve]:
    """The curves of remedies whose networks are one program, by name."""
    count, states = len(data.train_labels), []
    for remedy in alike:
        states += [draw_weights(remedy.spec(depth), SEED)] * len(RATES)
    spec = alike[0].spec(depth)
    inputs, labels = data.train_inputs, data.train_labels
    population = backend.population(spec, states, RATES * len(alike), inputs, labels, "float32", lanes=1)
    stream = IndexStream(count, BATCH_SIZE, SEED)
    batches = np.concatenate([stream.next_pass() for _ in range(PASSES)])
    masks = MaskStream(spec, BATCH_SIZE, SEED).next_updates(len(batches)) if spec.dropout_rate else None
    record = population.run_pass(batches[None], **mask_arguments(None if masks is None else masks[None]))
    accuracy = population.evaluate(data.test_inputs, data.test_labels).accuracy
    curves = {}
    for number, remedy in enumerate(alike):
        own = range(number * len(RATES), (number + 1) * len(RATES))
        statuses = [classify(record.losses[:, i], record.finite[:, i], data.label_entropy) for i in own]
        curves[remedy.name] = Curve(
            tuple(np.nan if s is Status.DIVERGED else float(accuracy[i]) for i, s in zip(own, statuses, strict=True)),
            tuple(status is Status.TRAINED for status in statuses),
        )
    return curves


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    names, fixed = list(results), int(np.argmin(np.abs(np.array(RATES) - FIXED_RATE)))
    rows = []
    for remedy in REMEDIES:
        for name, result in results.items():
            cells = []
            for depth in config.remedy_depths:
                curve: Curve = result[depth, remedy.name]
                best = (
                    f"{curve.accuracy[curve.best]:.3f} at {RATES[curve.best]:.3g}"
                    if any(curve.trained)
                    else "none trained"
                )
                cells += [_share(curve.accuracy[fixed]), best]
            rows.append((remedy.name, name, *cells))
    header = ["remedy", "framework"]
    for depth in config.remedy_depths:
        header += [f"depth {depth}, at {RATES[fixed]:.3g}", f"depth {depth}, at its best rate"]
    blocks = (
        Text(" ".join(_sentence(results, depth) for depth in config.remedy_depths)),
        Plot(
            "remedies",
            _draw(results, config, command),
            "Test accuracy against the learning rate for each remedy, a panel for each depth.",
            f"Lines are {names[0]}, marks without a line the other framework; what diverged has no mark. "
            "A network that ignores its input classifies one in ten right (dashed).",
        ),
        Table(
            "by_remedy",
            "Test accuracy of each network at one learning rate and at its best.",
            tuple(header),
            tuple(rows),
            words=2,
        ),
    )
    return Section("deep_networks", TITLE, INTRODUCTION, blocks)


def _share(accuracy: float) -> str:
    return "diverged" if np.isnan(accuracy) else f"{accuracy:.3f}"


def _sentence(results: Results, depth: int) -> str:
    one = next(iter(results.values()))
    curves = {remedy.name: one[depth, remedy.name] for remedy in REMEDIES}
    helped = sorted(
        (name for name, c in curves.items() if any(c.trained)), key=lambda n: -curves[n].accuracy[curves[n].best]
    )
    lost = [name for name in curves if name not in helped]
    if not helped:
        return f"At depth {depth} nothing trains in {PASSES} pass."
    best = curves[helped[0]]
    words = (
        f"At depth {depth} the best is *{helped[0]}*, at {best.accuracy[best.best]:.3f} with a learning rate of "
        f"{RATES[best.best]:.3g}"
    )
    return words + (
        f"; at no learning rate does training begin with {listed([f'*{name}*' for name in lost])}."
        if lost
        else "; all train."
    )


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    looks = {remedy.name: (COLORS[i], MARKERS[i]) for i, remedy in enumerate(REMEDIES)}
    handles = [Line2D([], [], color=c, marker=m, markersize=5, label=plain(name)) for name, (c, m) in looks.items()]
    setting = f"data set: {config.dataset}, {config.fraction:.0%} of its training set; width {WIDTH}, batches of {BATCH_SIZE}, {PASSES} pass, seed {SEED}"
    grid = PanelGrid(config.remedy_depths, depth_words, most_columns=3, panel=(3.0, 2.6))
    sheet = lab_sheet("What helps a deep network", setting, command, grid.height, handles, width=grid.width())
    with page_style():
        for depth, (axes,) in grid.draw(sheet).items():
            for index, result in enumerate(results.values()):
                for name, (color, marker) in looks.items():
                    line: Any = {} if index == 0 else {"linestyle": "none", "markerfacecolor": "none", "markersize": 8}
                    axes.plot(
                        RATES, result[depth, name].accuracy, color=color, marker=marker, **({"markersize": 4} | line)
                    )
            learning_rate_axis(axes, RATES[0], RATES[-1])
            axes.set_ylim(0, 0.9)
            axes.axhline(0.1, color="#6B6B6B", linewidth=0.8, linestyle="--")
            axes.set_xlabel("learning rate (log scale)")
            if grid.is_first(depth):
                axes.set_ylabel("test accuracy")
    return sheet.figure
