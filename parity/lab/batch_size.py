"""Batch norm needs batches that are large enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from parity.data import IndexStream, StandardizedData
from parity.lab.blocks import Plot, Results, Section, Table, Text, listed
from parity.lab.config import WIDTH, LabConfig, lab_data
from parity.lab.drawing import lab_sheet, panels
from parity.reference import State, sgd_step
from parity.report.style import series_styles
from parity.spec import ModelSpec
from parity.weights import Array, Weights, cast_weights, draw_weights

TITLE = "How large a batch must be"
INTRODUCTION = """\
In training, batch norm divides by what it estimates from one batch. From two samples a feature's variance cannot be known:
every normalized value is +1 or -1 but for eps, whatever the difference between the two, and each sample's output depends on
which other one it met. That is noise, and it is gone in evaluation, where the running averages take the batch's place: the
network that is evaluated is not the one that was trained. The larger the batch, the smaller the noise and the closer the
two.

Here every batch size sees the same number of samples, so small batches make more updates, each at the best learning rate of
a grid. The *gap* is the mean loss in evaluation mode less that in training mode, of the same weights on the same training
samples."""

DEPTH, SAMPLES_SEEN = 3, 3000
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
GAP_SAMPLES = 512


@dataclass(frozen=True)
class Outcome:
    """What became of one batch size, at its best learning rate; arrays have a value for each seed.

    Args:
        rate: that has the largest mean test accuracy.
        accuracy: on the test set.
        gap: loss in evaluation mode less loss in training mode, in nats.
        updates: that were made.
    """

    rate: float
    accuracy: Array
    gap: Array
    updates: int


Measured = Mapping[tuple[int, bool], Outcome]
"""By batch size and batch norm."""


def measure(backend: Any, config: LabConfig) -> Measured:
    """Train a population of learning rates for each batch size, with and without batch norm, all seeds side by side."""
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    return {
        (size, on): _outcome(backend, data, size, on, config.seeds)
        for size in config.batch_sizes
        for on in (True, False)
    }


def _outcome(backend: Any, data: StandardizedData, size: int, on: bool, seeds: int) -> Outcome:
    spec, count = ModelSpec(num_hidden_layers=DEPTH, use_batch_norm=on), len(data.train_labels)
    states = [draw_weights(spec, seed) for seed in range(seeds) for _ in RATES]
    streams = [IndexStream(count, size, seed) for seed in range(seeds)]
    batches = np.stack([stream.next_pass() for stream in streams])[:, : max(1, round(SAMPLES_SEEN / size))]
    population = backend.population(
        spec, states, RATES * seeds, data.train_inputs, data.train_labels, "float32", lanes=seeds
    )
    population.run_pass(batches)
    accuracy = population.evaluate(data.test_inputs, data.test_labels).accuracy.reshape(seeds, -1)
    best = int(np.argmax(accuracy.mean(axis=0)))
    rows = slice(min(GAP_SAMPLES, count) // size * size)  # whole batches
    evaluated = population.evaluate(data.train_inputs[rows], data.train_labels[rows]).loss.reshape(seeds, -1)[:, best]
    own = data.train_inputs[rows].astype(np.float64), data.train_labels[rows]
    trained = [_training_loss(spec, population.weights(seed * len(RATES) + best), *own, size) for seed in range(seeds)]
    return Outcome(RATES[best], accuracy[:, best], evaluated - trained, batches.shape[1])


def _training_loss(spec: ModelSpec, weights: Weights, inputs: Array, labels: NDArray[np.integer], size: int) -> float:
    """The mean loss in training mode, by the reference, of samples in batches of one size."""
    state = State(spec, cast_weights(weights, "float64"))
    batches = [slice(start, start + size) for start in range(0, len(labels), size)]
    return float(np.mean([sgd_step(state, inputs[rows], labels[rows], 0.0)[1].loss for rows in batches]))


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    names, rows = list(results), []
    for size in config.batch_sizes:
        for name, result in results.items():
            on, off = result[size, True], result[size, False]
            rows.append((name, str(size), f"{on.updates:,}", f"{on.rate:g}", f"{on.accuracy.mean():.3f}",
                         f"{on.gap.mean():+.3f}", f"{off.rate:g}", f"{off.accuracy.mean():.3f}"))  # fmt: skip
    smallest, largest = config.batch_sizes[0], config.batch_sizes[-1]
    best = {name: max(config.batch_sizes, key=lambda b, r=r: r[b, True].accuracy.mean()) for name, r in results.items()}

    def words(name: str) -> str:
        result = results[name]
        return (
            f"in {name} batches of {smallest} end at a test accuracy of {result[smallest, True].accuracy.mean():.3f} with a gap of "
            f"{result[smallest, True].gap.mean():+.3f} nats, batches of {best[name]} at "
            f"{result[best[name], True].accuracy.mean():.3f}, which is the best, with a gap of {result[best[name], True].gap.mean():+.3f}"
        )

    without = max(abs(float(r[b, False].gap.mean())) for r in results.values() for b in config.batch_sizes)
    blocks = (
        Text(
            f"With batch norm, {'; '.join(words(name) for name in names)}. Without batch norm the two modes are one "
            f"(the largest gap is {without:.0e}, the frameworks' working precision against the reference's): batches of {smallest} "
            f"end at "
            f"{listed([f'{results[name][smallest, False].accuracy.mean():.3f}' for name in names])}, batches of {largest} at "
            f"{listed([f'{results[name][largest, False].accuracy.mean():.3f}' for name in names])}."
        ),
        Table(
            "by_batch_size",
            f"What became of each batch size at its best learning rate, means of {config.seeds} seeds.",
            ("framework", "batch size", "updates", "best rate, batch norm", "test accuracy", "gap (nats)",
             "best rate, no batch norm", "test accuracy, no batch norm"),
            tuple(rows),
        ),
        Plot(
            "batch_sizes",
            _draw(results, config, command),
            "Test accuracy, and the gap between evaluation and training mode, against the batch size, with and without "
            "batch norm.",
            f"Means of {config.seeds} seeds; bars reach from the lowest to the highest. Every batch size has seen the same "
            "number of samples, at its best learning rate.",
        ),
    )  # fmt: skip
    return Section("batch_size", TITLE, INTRODUCTION, blocks)


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    styles = series_styles(results, (False, True))
    handles = [Line2D([], [], color=s.color, marker=s.marker, linestyle=s.dash, label=s.label) for s in styles.values()]
    seen = max(outcome.updates * size for result in results.values() for (size, _), outcome in result.items())
    setting = f"data set: {config.dataset}; depth {DEPTH}, width {WIDTH}, plain SGD, about {seen:,} samples seen, {config.seeds} seeds"
    sheet = lab_sheet("Small batches and batch norm", setting, command, 3.0, handles)
    left, right = panels(sheet, 2, ("test accuracy", "evaluation loss less training loss (nats)"))
    for (name, on), style in styles.items():
        for axes, read in ((left, "accuracy"), (right, "gap")):
            values = np.array([getattr(results[name][size, on], read) for size in config.batch_sizes])
            middle = values.mean(axis=1)
            axes.errorbar(
                config.batch_sizes, middle, yerr=[middle - values.min(axis=1), values.max(axis=1) - middle],
                color=style.color, marker=style.marker, linestyle=style.dash, markersize=5, capsize=2,
            )  # fmt: skip
    for axes in (left, right):
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(config.batch_sizes, [str(size) for size in config.batch_sizes])
        axes.set_xlabel("batch size (log scale)")
    right.axhline(0, color="#6B6B6B", linewidth=0.8)
    return sheet.figure
