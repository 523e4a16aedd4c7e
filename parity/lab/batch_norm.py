"""Batch norm in action: what it does to a batch, and what its running statistics come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from parity.backend import Listing, run_listing
from parity.lab.blocks import (
    Code,
    Plot,
    Results,
    Section,
    Table,
    Text,
    compared,
    extent,
    furthest,
    lines_and_marks,
    listed,
)
from parity.lab.config import LabConfig
from parity.lab.drawing import COLORS, MARKERS, framework_handles, lab_sheet, panels
from parity.report.canvas import say
from parity.report.style import plain
from parity.weights import Array

TITLE = "Batch norm in action"
INTRODUCTION = """\
Batch norm gives every feature of a batch mean 0 and variance 1. In training, with the batch's mean $m$ and biased variance
$v$ (the sum of squares over $n$):

$$y = \\gamma \\, \\frac{x - m}{\\sqrt{v + \\varepsilon}} + \\beta$$

$$m = \\frac{1}{n} \\sum_{i=1}^{n} x_i, \\qquad v = \\frac{1}{n} \\sum_{i=1}^{n} (x_i - m)^2$$

In evaluation there may be no batch. The layer then uses running averages, which training updates:

```text
start:      mean = 0, var = 1, gamma = 1, beta = 0

training:   m, v = mean and biased variance of the batch
            y    = gamma * (x - m) / sqrt(v + eps) + beta
            mean = decay * mean + (1 - decay) * m
            var  = decay * var  + (1 - decay) * v * n / (n - 1)

evaluation: y    = gamma * (x - mean) / sqrt(var + eps) + beta
            mean and var stay as they are
```

Two conventions differ between frameworks. They are the first thing to look at when a port disagrees:

- Flax's `momentum` is this decay; PyTorch's `momentum` is `1 - decay`.
- PyTorch averages the unbiased variance, over $n - 1$; Flax's own layer averages the biased one, without the factor
  `n / (n - 1)`. The layers that are measured here both average the unbiased one.

The *sample* standard deviation of a normalized batch, the one over $n - 1$, is a little above 1:
$\\sqrt{\\frac{n}{n - 1} \\cdot \\frac{v}{v + \\varepsilon}}$."""

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
        after: the first batch in evaluation, by the statistics of the usual decay after all batches.
        evaluated: fresh data by the same statistics, shape (10000, 10).
        listing: the framework's own layer in both modes.
    """

    identity: Array
    trained: Array
    traces: Mapping[float, Array]
    after: Array
    evaluated: Array
    listing: Listing


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
    source, tools = make_source(), backend.tools()
    make, batch, traces = tools.norm_layer, source.batch(0), {}
    first, usual = make(FEATURES, EPS), make(FEATURES, EPS, USUAL)
    identity, trained = first.evaluate(batch), first.train(batch)
    for decay in DECAYS:
        layer = usual if decay == USUAL else make(FEATURES, EPS, decay)
        trace = [layer.statistics()]
        for number in range(config.norm_batches):
            layer.train(source.batch(number))
            trace.append(layer.statistics())
        traces[decay] = np.array(trace)
    listing, _ = run_listing(tools.lesson.both_modes, {"both_modes(x)": (batch.astype(np.float32),)})
    fresh = source.batch(config.norm_batches, FRESH)
    return Measured(identity, trained, traces, usual.evaluate(batch), usual.evaluate(fresh), listing)


def predicted_std(variance: Array, size: int, eps: float = EPS) -> Array:
    """The sample standard deviation of a normalized batch: `sqrt(n / (n - 1) * v / (v + eps))`, for its biased variance `v`.

    >>> float(round(predicted_std(np.array([1.0]), 25)[0], 4))
    1.0206
    """
    return np.sqrt(size / (size - 1) * variance / (variance + eps))


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    one: Measured = next(iter(results.values()))
    batch = make_source().batch(0)
    blocks = (
        Code(
            "both_modes",
            "The calls: each framework's own layer in training mode and in evaluation mode.",
            {name: result.listing for name, result in results.items()},
        ),
        Text(
            "A layer either carries its mode and its averages, and changes itself, or it gets the mode as an argument, and gives "
            "the new averages back beside the result: the code shows which. After one batch the running averages have moved a tenth of the way: evaluation does not normalize yet."
        ),
        Plot(
            "two_modes",
            partial(_draw_modes, results, config, command),
            "The outputs of each feature for one and the same batch: evaluation before training, training, evaluation after.",
            f"One and the same batch of {SAMPLES} samples in three states of the layer; a dot is a sample. Left: before any "
            "training evaluation changes nothing. Middle: training mode normalizes by the batch. Right: after "
            f"{config.norm_batches:,} batches evaluation normalizes by the running averages.",
        ),
        Table(
            "normalized",
            f"Mean and sample standard deviation of each feature: of the batch; in evaluation mode before any training; in "
            f"training mode; and in evaluation mode after {config.norm_batches:,} batches, there of {FRESH:,} fresh samples.",
            (
                "feature", "batch: mean", "std", "evaluation before: mean", "std", "training: mean", "std",
                "evaluation after: mean", "std",
            ),
            _rows(one, batch),
        ),
        *_told(results, config),
        Text(
            "A larger decay $d$ forgets the start more slowly: a share $d^t$ of it is left after $t$ batches. In return it wavers "
            "less, by $\\sqrt{(1 - d) / (1 + d)}$ times the standard deviation of a batch's mean."
        ),
        Plot(
            "running_statistics",
            partial(_draw, results, config, command),
            "Distance of the running mean and of the running variance from the true ones, against batches, by decay.",
            "How far the running mean is from the true one, in standard deviations of the feature (left), and the running "
            "variance from the true one, relative to it (right); root mean square over the features. "
            f"{lines_and_marks(results)}Dotted: where theory says that the mean settles. A decay of {DECAYS[0]:g} is "
            "the last batch alone; the larger the decay, the longer the start is remembered, and the less the rest wavers.",
        ),
    )  # fmt: skip
    return Section("batch_norm", TITLE, INTRODUCTION, blocks)


def _told(results: Results, config: LabConfig) -> tuple[Text, ...]:
    """What the table shows, state by state."""
    one: Measured = next(iter(results.values()))
    batch = make_source().batch(0)
    predicted = predicted_std(batch.var(axis=0), SAMPLES)
    found = one.trained.std(axis=0, ddof=1)
    mean, std = one.evaluated.mean(axis=0), one.evaluated.std(axis=0)
    wavering = np.sqrt((1 - USUAL) / (1 + USUAL) / SAMPLES)
    reads = (lambda r: r.trained, lambda r: r.evaluated, lambda r: r.identity, lambda r: r.after)
    apart, names = max(furthest(results, read) for read in reads), listed(list(results))
    tiny = FEATURES - 1
    return (
        Text(
            f"*Before any training* evaluation gives $x / \\sqrt{{1 + \\varepsilon}}$, which is $x$ up to "
            f"{np.abs(one.identity / batch - 1).max():.1e} of itself."
        ),
        Text(
            f"*In training mode* the means vanish: the largest is {np.abs(one.trained.mean(axis=0)).max():.0e}. The standard "
            f"deviations {extent(found[:-1], '.4f')}, and $\\sqrt{{n / (n - 1)}}$ is "
            f"{np.sqrt(SAMPLES / (SAMPLES - 1)):.4f}."
        ),
        Text(
            f"Feature {tiny} is the exception. Its own standard deviation is {batch[:, -1].std(ddof=1):.4f}, its biased variance "
            f"{batch[:, -1].var():.2e}, only {batch[:, -1].var() / EPS:.0f} times $\\varepsilon$. It comes out at "
            f"{found[-1]:.4f}; the formula says {predicted[-1]:.4f}."
        ),
        Text(
            f"*After {config.norm_batches:,} batches* at decay {USUAL}, no mean of the fresh samples is larger than "
            f"{np.abs(mean).max():.3f}, and the standard deviations {extent(std, '.3f')}. That is how much the running averages "
            f"waver: a running mean's standard deviation is {wavering:.3f} of its feature's. "
            + compared(results, f"Of all these outputs no two of {names} are further apart than {apart:.0e}.")
        ),
    )


def _rows(one: Measured, batch: Array) -> tuple[tuple[str, ...], ...]:
    def cells(values: Array) -> tuple[str, str]:
        mean = values.mean()
        return f"{mean:.1e}" if abs(mean) < 1e-6 else f"{mean:.3f}", f"{values.std(ddof=1):.4f}"

    states = batch, one.identity, one.trained, one.evaluated
    return tuple(
        (str(feature), *(cell for state in states for cell in cells(state[:, feature]))) for feature in range(FEATURES)
    )


def _draw_modes(results: Results, config: LabConfig, command: str) -> Any:
    names = list(results)
    handles = [
        Line2D([], [], color=COLORS[i], marker=MARKERS[i], markersize=4, linestyle="none", label=plain(name),
               markerfacecolor="none" if i else COLORS[i])
        for i, name in enumerate(names)
    ]  # fmt: skip
    setting = f"made data: one batch of {SAMPLES} samples, {FEATURES} normal features; float64"
    sheet = lab_sheet(
        "The same batch in training mode and in evaluation mode", setting, command, 2.9, handles, columns=3
    )
    titles = ("evaluation, before training", "training", f"evaluation, {config.norm_batches:,} batches later")
    for axes, title, read in zip(
        panels(sheet, 3, titles, gap=0.5), titles, ("identity", "trained", "after"), strict=True
    ):
        for i, result in enumerate(results.values()):
            places = np.arange(FEATURES) + 0.18 * (2 * i - len(names) + 1)
            outputs = getattr(result, read)
            (line,) = axes.plot(np.broadcast_to(places, outputs.shape).ravel(), outputs.ravel(), color=COLORS[i], marker=MARKERS[i],
                      markersize=2.5, linestyle="none", markerfacecolor="none" if i else COLORS[i], alpha=0.7)  # fmt: skip
            say(line, ())  # too many, side by side
        axes.set_xticks(range(FEATURES))
        axes.set_xlabel("feature")
        if title == titles[0]:
            axes.set_ylabel("output")
    return sheet.figure


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    source = make_source()
    marks, shown = (np.unique(np.geomspace(1, config.norm_batches, count).astype(int)) for count in (12, 150))
    handles = [Line2D([], [], color=c, label=f"decay {d:g}") for c, d in zip(COLORS, DECAYS, strict=False)]
    handles += framework_handles(list(results))
    handles.append(Line2D([], [], color="#444444", linestyle=":", label="theory"))
    setting = f"made data: {SAMPLES} samples in a batch, {FEATURES} normal features; float64"
    sheet = lab_sheet(
        "Running statistics find the true ones, or waver about them", setting, command, 3.1, handles, columns=2
    )
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
