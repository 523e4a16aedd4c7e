"""Batch norm needs batches that are large enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from parity.data import IndexStream, StandardizedData
from parity.lab.blocks import Plot, Results, Section, Table, Text, listed, on_a_grid
from parity.lab.config import WIDTH, LabConfig, lab_data
from parity.lab.drawing import lab_sheet, panels
from parity.reference import State, sgd_step
from parity.report.style import series_styles
from parity.spec import ModelSpec
from parity.weights import Array, Weights, cast_weights, draw_weights

TITLE = "How large a batch must be"
INTRODUCTION = """\
**Training divides by what it estimates from one batch.** Two samples tell nothing of a feature's variance: whatever their
difference, they become

$$\\frac{x_1 - m}{\\sqrt{v + \\varepsilon}} \\approx \\pm 1, \\qquad \\frac{x_2 - m}{\\sqrt{v + \\varepsilon}} \\approx \\mp 1$$

(or both 0, where ReLU has cut both off). Each sample's output depends on which other one it met.

**Evaluation has no such noise.** The running averages take the batch's place. So the network that is evaluated is not the one that
was trained. The *gap* measures it, at the same weights and on the same training samples:

$$\\text{gap} = \\text{loss in evaluation mode} - \\text{loss in training mode}$$

Below zero, evaluation does better, being spared the noise. Two things push the gap up: running averages that lag behind the
weights, and, after few updates $t$, the share $\\text{decay}^t$ of their start that is left in them.

**A fair comparison.** Every batch size sees the same number of samples, so small batches make more updates. Each has the best
learning rate of a grid. The rate is chosen on one half of the test set; the accuracy is that on the other. The column without batch
norm tells what the number of updates does by itself."""

DEPTH, SAMPLES_SEEN = 3, 3000
GAP_SAMPLES = 512
USUAL_DECAY = ModelSpec.decay
CLAIMED = (64, 128)  # batch sizes that batch norm is commonly said to need
MARGIN = 0.01  # of accuracy: what a reader would not choose a batch size for


@dataclass(frozen=True)
class Outcome:
    """What became of one batch size, at its best learning rate; arrays have a value for each seed.

    Args:
        rate: that has the largest mean accuracy on the first half of the test set.
        accuracy: on its other half.
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
        (size, on): _outcome(backend, data, size, on, config) for size in config.batch_sizes for on in (True, False)
    }


def _outcome(backend: Any, data: StandardizedData, size: int, on: bool, config: LabConfig) -> Outcome:
    spec, count = ModelSpec(num_hidden_layers=DEPTH, use_batch_norm=on), len(data.train_labels)
    seeds, rates = config.seeds, config.batch_size_rates.values()
    states = [draw_weights(spec, seed) for seed in range(seeds) for _ in rates]
    streams = [IndexStream(count, size, seed) for seed in range(seeds)]
    batches = np.stack([stream.next_pass() for stream in streams])[:, : max(1, round(SAMPLES_SEEN / size))]
    population = backend.population(
        spec, states, rates * seeds, data.train_inputs, data.train_labels, "float32", lanes=seeds
    )
    population.run_pass(batches)
    half = len(data.test_labels) // 2
    chosen_by, accuracy = (
        population.evaluate(data.test_inputs[rows], data.test_labels[rows]).accuracy.reshape(seeds, -1)
        for rows in (slice(half), slice(half, 2 * half))
    )
    best = int(np.argmax(chosen_by.mean(axis=0)))
    rows = slice(min(max(GAP_SAMPLES, size), count) // size * size)  # whole batches
    evaluated = population.evaluate(data.train_inputs[rows], data.train_labels[rows]).loss.reshape(seeds, -1)[:, best]
    own = data.train_inputs[rows].astype(np.float64), data.train_labels[rows]
    trained = [_training_loss(spec, population.weights(seed * len(rates) + best), *own, size) for seed in range(seeds)]
    return Outcome(rates[best], accuracy[:, best], evaluated - trained, batches.shape[1])


def _training_loss(spec: ModelSpec, weights: Weights, inputs: Array, labels: NDArray[np.integer], size: int) -> float:
    """The mean loss in training mode, by the reference, of samples in batches of one size."""
    state = State(spec, cast_weights(weights, "float64"))
    batches = [slice(start, start + size) for start in range(0, len(labels), size)]
    return float(np.mean([sgd_step(state, inputs[rows], labels[rows], 0.0)[1].loss for rows in batches]))


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    names, rows, rates = list(results), [], config.batch_size_rates.values()
    for size in config.batch_sizes:
        for name, result in results.items():
            on, off = result[size, True], result[size, False]
            rows.append((name, str(size), f"{on.updates:,}", on_a_grid(on.rate, rates), f"{on.accuracy.mean():.3f}",
                         f"{on.gap.mean():+.3f}", on_a_grid(off.rate, rates), f"{off.accuracy.mean():.3f}"))  # fmt: skip
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
    gains = {
        size: float(np.mean([r[size, True].accuracy.mean() - r[size, False].accuracy.mean() for r in results.values()]))
        for size in config.batch_sizes
    }
    updates = results[names[0]][largest, True].updates
    left = USUAL_DECAY**updates
    blocks = (
        Text(_claim_words({name: enough(result, config.batch_sizes) for name, result in results.items()})),
        Text(
            "With batch norm:\n\n"
            + "".join(f"- {words(name)}.\n" for name in names)
            + f"\n{_gain_words(gains)}\n\nAfter the {updates:,} updates of "
            f"batches of {largest}, {left:.0%} of the running averages is still their start. Without batch norm the two modes are one "
            f"(the largest gap is {without:.0e}, float32 against the reference's float64)."
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
            partial(_draw, results, config, command),
            "Test accuracy, and the gap between evaluation and training mode, against the batch size, with and without "
            "batch norm.",
            f"Means of {config.seeds} seeds; bars reach from the lowest to the highest. Every batch size has seen the same "
            "number of samples, at its best learning rate.",
        ),
    )  # fmt: skip
    return Section("batch_size", TITLE, INTRODUCTION, blocks)


def enough(result: Measured, sizes: Sequence[int]) -> int:
    """The smallest batch size whose mean accuracy with batch norm is at most `MARGIN` below the best."""
    accuracies = {size: result[size, True].accuracy.mean() for size in sizes}
    return min(size for size, accuracy in accuracies.items() if max(accuracies.values()) - accuracy <= MARGIN)


def _claim_words(smallest: Mapping[str, int]) -> str:
    """The common claim, held against the smallest batch sizes that were enough, by framework."""
    found = listed([f"{size} in {name}" for name, size in smallest.items()])
    holds = [size >= min(CLAIMED) for size in smallest.values()]
    verdict = "holds here" if all(holds) else "holds in some of the frameworks" if any(holds) else "does not hold here"
    return (
        f'*"Batch norm needs batches of {" or ".join(map(str, CLAIMED))}."* The smallest batch size whose mean accuracy is within '
        f"{MARGIN:g} of the best is {found}. So the claim {verdict}."
    )


def _gain_words(gains: Mapping[int, float]) -> str:
    losing, winning = ([str(size) for size, gain in gains.items() if (gain > 0) is better] for better in (False, True))
    parts = [
        f"{'gains' if sizes is winning else 'costs'} accuracy at batches of {listed(sizes)} "
        f"(by {', '.join(f'{abs(gains[int(size)]):.3f}' for size in sizes)})"
        for sizes in (losing, winning)
        if sizes
    ]
    return f"Against the same training without it, batch norm {' and '.join(parts)}."


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    styles = series_styles(results, (False, True))
    handles = [Line2D([], [], color=s.color, marker=s.marker, linestyle=s.dash, label=s.label) for s in styles.values()]
    seen = max(outcome.updates * size for result in results.values() for (size, _), outcome in result.items())
    setting = f"depth {DEPTH}, width {WIDTH}, plain SGD, about {seen:,} samples seen, {config.seeds} seeds"
    sheet = lab_sheet("Small batches and batch norm", setting, command, 3.0, handles, dataset=config.dataset, columns=2)
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
