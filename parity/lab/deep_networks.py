"""Deep networks, and what helps them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from parity.data import IndexStream, MaskStream, StandardizedData, mask_arguments
from parity.divergence import Status, classify
from parity.lab.blocks import Plot, Results, Section, Table, Text, compared, listed, on_a_grid
from parity.lab.config import SEED, WIDTH, LabConfig, lab_data
from parity.lab.drawing import COLORS, MARKERS, lab_sheet
from parity.report.panels import PanelGrid, depth_words, learning_rate_axis
from parity.report.style import page_style, plain
from parity.spec import BlockOrder, Initialization, ModelSpec
from parity.sweep.ahead import compiling_ahead
from parity.weights import draw_weights

TITLE = "Deep networks and their remedies"
INTRODUCTION = """\
**Why depth is hard.** PyTorch's usual initial weights are uniform within $1 / \\sqrt{\\text{fan-in}}$, so a weight's variance is
$\\frac{1}{3 \\, \\text{fan-in}}$. ReLU keeps half of a mean square. Without batch norm the signal shrinks in every layer:

$$\\mathbb{E}[x_{l+1}^2] = \\frac{1}{6} \\, \\mathbb{E}[x_l^2] \\quad \\text{(but for the biases)}$$

The gradient does the same on its way back, until neither tells anything. What is held to help:

- **Careful initial weights.** He's, normal with variance $2 / \\text{fan-in}$, keep the mean square through ReLU. Orthogonal ones
  keep lengths, but ReLU behind them still halves the mean square.
- **Batch norm** resets the scale in every layer, at the price of the gradient's growth (above).
- **Batch norm before the activation**, as in the paper, rather than after it, as in the lab.
- **Residual connections**, as in ResNet: $x_{l+1} = x_l + f(x_l)$. Signal and gradient have a way past each block (He, Zhang, Ren
  and Sun, "Deep Residual Learning for Image Recognition", 2015). Without batch norm the sums grow from block to block, and large
  steps are too large.
- **Dropout** is a remedy for overfitting. Every layer of it adds noise, so a deep network has more of it.
- **A tuned learning rate.** Each remedy is shown at its own best one, and at one rate for all.

**What counts as trained.** The loss ends below 0.95 times the entropy of the labels: a low bar, which tells learning slowly from
not at all. The learning rate is chosen on one half of some test samples, and the accuracy is that on the other.

**What is the same.** Initial weights, minibatches and dropout's masks come from NumPy. What is left between the frameworks is
rounding, which training makes larger at every step: it shows how much of a difference between two remedies is chance."""

PASSES = 1
BATCH_SIZE = 32
TEST_SAMPLES = 4000  # half of them to choose the learning rate by
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
    Remedy("no remedy", False, {}),
    Remedy("He's initial weights", False, {"initialization": Initialization.HE_NORMAL}),
    Remedy("orthogonal initial weights", False, {"initialization": Initialization.ORTHOGONAL}),
    Remedy("residual (ResNet)", False, {"residual": True}),
    Remedy("batch norm (the lab's)", True, {}),
    Remedy("batch norm before ReLU", True, {"block_order": BlockOrder.NORM_FIRST}),
    Remedy("batch norm, residual (ResNet)", True, {"residual": True}),
    Remedy("batch norm, dropout 0.1", True, {"dropout_rate": 0.1}),
)


@dataclass(frozen=True)
class Curve:
    """What became of one network at every learning rate.

    Args:
        statuses: how each training ended.
        chosen_by: accuracy on the first half of the test samples, by which the learning rate is chosen.
        accuracy: on the other half; NaN where training diverged.
    """

    statuses: tuple[Status, ...]
    chosen_by: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def has_trained(self) -> bool:
        """Whether there is a learning rate at which training begins."""
        return Status.TRAINED in self.statuses

    @property
    def best(self) -> int:
        """The place of the best learning rate among those that trained; the first if none did."""
        trained = [status is Status.TRAINED for status in self.statuses]
        return int(np.argmax(np.where(trained, self.chosen_by, -1.0)))

    @property
    def best_accuracy(self) -> float:
        """The accuracy at the best learning rate."""
        return self.accuracy[self.best]


Rates = tuple[float, ...]
Measured = Mapping[tuple[int, str], Curve]
"""By depth and name of the remedy."""


def measure(backend: Any, config: LabConfig) -> Measured:
    """Train every network at every learning rate; the programs of the next are compiled meanwhile.

    Networks that differ in their initial weights alone are one population.
    """
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    jobs = {(depth, place): (depth, alike) for place, alike in enumerate(_alike()) for depth in config.remedy_depths}
    rates = config.remedy_rates.values()
    found: dict[tuple[int, str], Curve] = {}
    with compiling_ahead({key: partial(_lower, backend, *job, data, rates) for key, job in jobs.items()}) as wait_for:
        for key, (depth, alike) in jobs.items():
            wait_for(key)
            found |= {(depth, name): curve for name, curve in _train(backend, depth, alike, data, rates).items()}
    return found


def _alike() -> list[list[Remedy]]:
    """The remedies, those alike that differ in their initial weights alone: they are one program."""
    found: dict[Any, list[Remedy]] = {}
    for remedy in REMEDIES:
        options = {name: value for name, value in remedy.options.items() if name != "initialization"}
        found.setdefault((remedy.batch_norm, *sorted(options.items())), []).append(remedy)
    return list(found.values())


def _lower(
    backend: Any, depth: int, alike: Sequence[Remedy], data: StandardizedData, rates: Rates
) -> Sequence[Callable[[], Any]]:
    return backend.lower_ahead(
        alike[0].spec(depth),
        members=len(alike) * len(rates),
        lanes=1,
        samples=len(data.train_labels),
        dtype="float32",
        batch_size=BATCH_SIZE,
        evaluated=(_half(data),),
    )


def _train(backend: Any, depth: int, alike: Sequence[Remedy], data: StandardizedData, rates: Rates) -> dict[str, Curve]:
    """The curves of remedies whose networks are one program, by name."""
    count, states = len(data.train_labels), []
    for remedy in alike:
        states += [draw_weights(remedy.spec(depth), SEED)] * len(rates)
    spec = alike[0].spec(depth)
    inputs, labels = data.train_inputs, data.train_labels
    population = backend.population(spec, states, rates * len(alike), inputs, labels, "float32", lanes=1)
    stream = IndexStream(count, BATCH_SIZE, SEED)
    batches = np.concatenate([stream.next_pass() for _ in range(PASSES)])
    masks = MaskStream(spec, BATCH_SIZE, SEED).next_updates(len(batches)) if spec.dropout_rate else None
    record = population.run_pass(batches[None], **mask_arguments(None if masks is None else masks[None]))
    half = _half(data)
    chosen_by, accuracy = (
        population.evaluate(data.test_inputs[rows], data.test_labels[rows]).accuracy
        for rows in (slice(half), slice(half, 2 * half))
    )
    curves = {}
    for number, remedy in enumerate(alike):
        own = range(number * len(rates), (number + 1) * len(rates))
        statuses = [classify(record.losses[:, i], record.finite[:, i], data.label_entropy) for i in own]
        curves[remedy.name] = Curve(
            tuple(statuses),
            tuple(float(chosen_by[i]) for i in own),
            tuple(np.nan if s is Status.DIVERGED else float(accuracy[i]) for i, s in zip(own, statuses, strict=True)),
        )
    return curves


def _half(data: StandardizedData) -> int:
    return min(TEST_SAMPLES, len(data.test_labels)) // 2


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    rates = config.remedy_rates.values()
    fixed = int(np.argmin(np.abs(np.array(rates) - FIXED_RATE)))
    rows = []
    for remedy in REMEDIES:
        for name, result in results.items():
            cells = []
            for depth in config.remedy_depths:
                curve: Curve = result[depth, remedy.name]
                best = (
                    f"{curve.best_accuracy:.3f} at {on_a_grid(rates[curve.best], rates)}"
                    if curve.has_trained
                    else "none trained"
                )
                cells += [_share(curve.accuracy[fixed]), best]
            rows.append((remedy.name, name, *cells))
    header = ["remedy", "framework"]
    for depth in config.remedy_depths:
        header += [f"depth {depth}, at {rates[fixed]:.3g}", f"depth {depth}, at its best rate"]
    blocks = (
        Text("\n\n".join(_sentence(results, depth, rates) for depth in config.remedy_depths)),
        Plot(
            "remedies",
            partial(_draw, results, config, command),
            "Test accuracy against the learning rate for each remedy, a panel for each depth and framework.",
            f"Accuracy on {TEST_SAMPLES // 2:,} test samples; what diverged has no mark. A network that ignores its input "
            "classifies one in ten right (dashed).",
        ),
        Table(
            "by_remedy",
            f"Test accuracy of each network at one learning rate and at its best of {len(rates)}; at an end of the grid, ≤ or ≥.",
            tuple(header),
            tuple(rows),
            words=2,
        ),
    )
    return Section("deep_networks", TITLE, INTRODUCTION, blocks)


def _share(accuracy: float) -> str:
    return "diverged" if np.isnan(accuracy) else f"{accuracy:.3f}"


def _sentence(results: Results, depth: int, rates: Rates) -> str:
    curves = {remedy.name: [result[depth, remedy.name] for result in results.values()] for remedy in REMEDIES}
    helped = {name: own for name, own in curves.items() if any(curve.has_trained for curve in own)}
    if not helped:
        return f"**At depth {depth}** nothing trains in {PASSES} pass at any of {len(rates)} learning rates."
    best = [max(helped, key=lambda name, i=i: helped[name][i].best_accuracy) for i in range(len(results))]
    ended = [
        f"at {helped[b][i].best_accuracy:.3f} in {name}" for i, (name, b) in enumerate(zip(results, best, strict=True))
    ]
    said = (
        [f"*{best[0]}*, {listed(ended)}"]
        if len(set(best)) == 1
        else [f"*{b}* {e}" for b, e in zip(best, ended, strict=True)]
    )
    words = [f"**At depth {depth}** the best is {listed(said)}."]
    everywhere = [own for own in helped.values() if all(curve.has_trained for curve in own)]
    spread = max((float(np.ptp([curve.best_accuracy for curve in own])) for own in everywhere), default=0.0)
    close = [
        name
        for name, own in helped.items()
        if name not in best
        and all(
            curve.best_accuracy > helped[b][i].best_accuracy - spread
            for i, (b, curve) in enumerate(zip(best, own, strict=True))
        )
    ]
    words.append(compared(results, f"One and the same network differs by up to {spread:.3f} between the frameworks"
                          + (f", and by no more from the best: {_quoted(close)}." if close else ".")))  # fmt: skip
    words += [
        f"At none of {len(rates)} learning rates from {rates[0]:g} to {rates[-1]:.3g} does training begin with {_quoted(lost)}."
        for lost in [[name for name in curves if name not in helped]]
        if lost
    ]
    return " ".join(word for word in words if word)


def _quoted(names: Sequence[str]) -> str:
    return listed([f"*{name}*" for name in names])


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    looks = {remedy.name: (COLORS[i], MARKERS[i]) for i, remedy in enumerate(REMEDIES)}
    handles = [Line2D([], [], color=c, marker=m, markersize=5, label=plain(name)) for name, (c, m) in looks.items()]
    setting = (
        f"{config.fraction:.0%} of its training set; width {WIDTH}, batches of {BATCH_SIZE}, {PASSES} pass, seed {SEED}"
    )
    rates = config.remedy_rates.values()
    keys = [(name, depth) for name in results for depth in config.remedy_depths]
    grid = PanelGrid(keys, lambda key: f"{plain(key[0])}, {depth_words(key[1])}", most_columns=len(config.remedy_depths),
                     panel=(3.0, 2.3))  # fmt: skip
    sheet = lab_sheet(
        "What helps a deep network", setting, command, grid.height, handles, width=grid.width(), dataset=config.dataset
    )
    with page_style():
        for (framework, depth), (axes,) in grid.draw(sheet).items():
            for name, (color, marker) in looks.items():
                accuracy = results[framework][depth, name].accuracy
                axes.plot(rates, accuracy, color=color, marker=marker, markersize=4.5, linewidth=1.2)
            learning_rate_axis(axes, rates[0], rates[-1])
            axes.set_ylim(0, 0.9)
            axes.axhline(0.1, color="#6B6B6B", linewidth=0.8, linestyle="--")
            if framework == keys[-1][0]:
                axes.set_xlabel("learning rate (log scale)")
            if grid.is_first((framework, depth)):
                axes.set_ylabel("test accuracy")
    return sheet.figure
