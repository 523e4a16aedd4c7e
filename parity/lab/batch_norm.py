"""Batch norm in action: what it does to a batch, and what its running statistics come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from parity.lab.blocks import Plot, Results, Section, Table, Text, compared, extent, furthest, lines_and_marks, listed
from parity.lab.config import LabConfig
from parity.lab.drawing import COLORS, MARKERS, framework_handles, lab_sheet, panels
from parity.weights import Array

TITLE = "Batch norm in action"
INTRODUCTION = """\
Batch norm stands between two layers and gives every feature of a batch mean 0 and variance 1, whatever they were:
`y = gamma * (x - m) / sqrt(v + eps) + beta`, with the batch's own mean `m` and its biased variance `v`, the sum of squares
over n. Since v is biased, the *sample* standard deviation of what comes out, the one over n - 1, is not 1 but
`sqrt(n / (n - 1) * v / (v + eps))`: a little above 1, and less for a feature whose v is not large beside eps.

In evaluation there is no batch to speak of, so the layer uses running averages, `running = decay * running + (1 - decay) *
batch`, that start at mean 0 and variance 1. Before any training it is therefore the identity, up to eps. A larger decay
forgets the start more slowly (a share `decay**t` of it is left after t batches) and then wavers less: the standard deviation
of the running mean is `sqrt((1 - decay) / (1 + decay))` times that of a batch's mean.

Two conventions differ between the frameworks, and are the first thing to look at when a port disagrees. Flax's `momentum`
is this decay; PyTorch's `momentum` is `1 - decay`. And PyTorch averages the *unbiased* variance, over n - 1, where Flax's own
layer averages the biased one; here both average the unbiased one, as PyTorch does."""

SAMPLES, FEATURES, EPS = 25, 10, 1e-5
TINY_STD = 0.0209  # of one feature's first batch: its variance is some forty times eps
DECAYS = (0.0, 0.5, 0.9, 0.99)
USUAL = 0.9
FRESH = 10_000


@dataclass(frozen=True)
class Measured:
    """What one framework's layer did.

    Args:
        identity: evaluation of the first batch before any training, shape (25, 10).
        trained: the same batch in training mode.
        traces: by decay, running mean and running variance before the first batch and after each, shape (batches + 1,
            2, 10).
        evaluated: fresh data by the statistics of the usual decay, shape (10000, 10).
    """

    identity: Array
    trained: Array
    traces: Mapping[float, Array]
    evaluated: Array


@dataclass(frozen=True)
class Source:
    """Where the data comes from: normal features, each with a mean and a scale of its own."""

    means: Array
    scales: Array

    def batch(self, number: int, size: int = SAMPLES) -> Array:
        """Batch `number`, shape (size, 10)."""
        return self.means + self.scales * np.random.default_rng([1, number]).standard_normal((size, FEATURES))


def make_source() -> Source:
    """Means of 20 times a uniform number, scales of 10 times one; the last feature hardly varies."""
    rng = np.random.default_rng(1)
    means, scales = 20 * rng.random(FEATURES), 10 * rng.random(FEATURES)
    standard = Source(np.zeros(FEATURES), np.ones(FEATURES)).batch(0)
    scales[-1] = TINY_STD / standard[:, -1].std(ddof=1)
    return Source(means, scales)


def measure(backend: Any, config: LabConfig) -> Measured:
    """Run the framework's own batch norm on the data, in float64."""
    source, make = make_source(), backend.tools().norm_layer
    first, traces = make(FEATURES, EPS), {}
    identity, trained, evaluated = first.evaluate(source.batch(0)), first.train(source.batch(0)), np.empty(0)
    for decay in DECAYS:
        layer = make(FEATURES, EPS, decay)
        trace = [layer.statistics()]
        for number in range(config.norm_batches):
            layer.train(source.batch(number))
            trace.append(layer.statistics())
        traces[decay] = np.array(trace)
        if decay == USUAL:
            evaluated = layer.evaluate(source.batch(config.norm_batches, FRESH))
    return Measured(identity, trained, traces, evaluated)


def predicted_std(variance: Array, size: int, eps: float = EPS) -> Array:
    """The sample standard deviation of a normalized batch: `sqrt(n / (n - 1) * v / (v + eps))`, for its biased variance `v`.

    >>> float(round(predicted_std(np.array([1.0]), 25)[0], 4))
    1.0206
    """
    return np.sqrt(size / (size - 1) * variance / (variance + eps))


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    one: Measured = next(iter(results.values()))
    source = make_source()
    batch = source.batch(0)
    predicted = predicted_std(batch.var(axis=0), SAMPLES)
    found = one.trained.std(axis=0, ddof=1)
    rows = tuple(
        (str(f), f"{batch[:, f].mean():.3f}", f"{batch[:, f].std(ddof=1):.4f}", f"{one.trained[:, f].mean():.1e}",
         f"{found[f]:.4f}", f"{predicted[f]:.4f}")
        for f in range(FEATURES)
    )  # fmt: skip
    mean, std = one.evaluated.mean(axis=0), one.evaluated.std(axis=0)
    wavering = np.sqrt((1 - USUAL) / (1 + USUAL) / SAMPLES)
    apart = max(furthest(results, read) for read in (lambda r: r.trained, lambda r: r.evaluated, lambda r: r.identity))
    names = listed(list(results))
    blocks = (
        Text(
            f"A batch of {SAMPLES} samples of {FEATURES} features, whose means reach {batch.mean(axis=0).max():.1f} and whose "
            f"standard deviations lie between {batch.std(axis=0, ddof=1).min():.4f} and "
            f"{batch.std(axis=0, ddof=1).max():.2f}. Before any training, evaluation gives `x / sqrt(1 + eps)`, which is x "
            f"up to {np.abs(one.identity / batch - 1).max():.1e} of itself. In training mode the means vanish (the largest "
            f"is {np.abs(one.trained.mean(axis=0)).max():.0e}), and the sample standard deviations "
            f"{extent(found[:-1], '.4f')}, where `sqrt(n / (n - 1))` is "
            f"{np.sqrt(SAMPLES / (SAMPLES - 1)):.4f}, but for feature {FEATURES - 1}: its own is "
            f"{batch[:, -1].std(ddof=1):.4f}, its biased variance {batch[:, -1].var():.2e}, {batch[:, -1].var() / EPS:.0f} "
            f"times eps, and it comes out at {found[-1]:.4f}, where the formula says {predicted[-1]:.4f}."
        ),
        Table(
            "normalized",
            "A batch before and after batch norm in training mode; sample standard deviations.",
            ("feature", "mean", "std", "mean after", "std after", "predicted"),
            rows,
        ),
        Text(
            f"After {config.norm_batches:,} batches at decay {USUAL} comes evaluation, of {FRESH:,} fresh samples: no mean "
            f"is larger than {np.abs(mean).max():.3f}, and the standard deviations {extent(std, '.3f')}. "
            f"That is what the running statistics waver by: a running mean's standard deviation is "
            f"{wavering:.3f} of its feature's. "
            + compared(results, f"Of all these outputs no two of {names} are further apart than {apart:.0e}.")
        ),
        Plot(
            "running_statistics",
            _draw(results, config, command),
            "Distance of the running mean and of the running variance from the true ones, against batches, by decay.",
            "Root mean square over the features of how far the running mean is from the true one, in units of the "
            "feature's standard deviation (left), and how far the running variance is from the true one, relative to it "
            f"(right). {lines_and_marks(results)}Dotted: what theory says the mean settles at. "
            f"A decay of {DECAYS[0]:g} is the last batch alone; the larger the decay, the longer the start is "
            "remembered, and the less the rest wavers.",
        ),
    )
    return Section("batch_norm", TITLE, INTRODUCTION, blocks)


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    source = make_source()
    marks, shown = (np.unique(np.geomspace(1, config.norm_batches, count).astype(int)) for count in (12, 150))
    handles = [Line2D([], [], color=c, label=f"decay {d:g}") for c, d in zip(COLORS, DECAYS, strict=False)]
    handles += framework_handles(list(results))
    handles.append(Line2D([], [], color="#444444", linestyle=":", label="theory"))
    setting = f"made data: {SAMPLES} samples in a batch, {FEATURES} normal features; float64"
    sheet = lab_sheet("Running statistics find the true ones, or waver about them", setting, command, 3.1, handles)
    left, right = panels(
        sheet, 2, ("running mean: distance (standard deviations)", "running variance: relative distance")
    )
    truth = np.array([source.means, source.scales**2])
    unit = np.array([source.scales, source.scales**2])
    for index, result in enumerate(results.values()):
        for color, decay in zip(COLORS, DECAYS, strict=False):
            distances = np.sqrt(np.mean(np.square((result.traces[decay] - truth) / unit), axis=2))
            for axes, which in ((left, 0), (right, 1)):
                if index == 0:
                    axes.plot(shown, distances[shown, which], color=color, linewidth=1)
                else:
                    axes.plot(marks, distances[marks, which], color=color, linestyle="none", marker=MARKERS[index],
                              markersize=4)  # fmt: skip
            if index == 0:
                settled = np.sqrt((1 - decay) / (1 + decay) / SAMPLES)
                left.axhline(settled, color=color, linestyle=":", linewidth=1.2)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("batches")
    return sheet.figure
