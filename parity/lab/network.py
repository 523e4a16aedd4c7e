"""The network as a student types it: its code, what it prints of itself, and a short training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from parity.backend import Listing, run_listing
from parity.lab.blocks import Code, Plot, Results, Section, Table, Text, compared, furthest, listed
from parity.lab.config import SEED, WIDTH, LabConfig, lab_data
from parity.lab.drawing import COLORS, MARKERS, lab_sheet, panels
from parity.report.curves import moving_average
from parity.report.style import plain
from parity.spec import ModelSpec
from parity.weights import draw_weights, weight_shapes

TITLE = "The network, and its training"
INTRODUCTION = """\
The network is a stack of hidden blocks and a linear head:

$$x_{l+1} = \\text{BatchNorm}(\\text{ReLU}(x_l W_l + b_l))$$

$$\\text{logits} = x_D W_D + b_D$$

The loss is the mean cross entropy of a minibatch, and an update is plain SGD:

$$\\text{loss} = - \\frac{1}{n} \\sum_{i=1}^{n} \\log \\, \\text{softmax}(\\text{logits}_i)_{y_i}$$

$$w \\leftarrow w - \\eta \\, \\frac{\\partial \\, \\text{loss}}{\\partial w}$$

The shown loss is a moving average: 0.99 of the old average and 0.01 of the new loss."""

SPEC = ModelSpec(num_hidden_layers=2)
PASSES = 2
BATCH = 32  # on which the plain network is compared with the project's own


@dataclass(frozen=True)
class Measured:
    """What one framework's plain network gave.

    Args:
        listings: "network", "summary" and "training".
        tensors: its own name and shape of each tensor, by neutral name.
        losses: of every update of the training.
        apart: the largest difference of its logits from those of the project's own network, by mode.
    """

    listings: Mapping[str, Listing]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    losses: tuple[float, ...]
    apart: Mapping[str, float]


def measure(backend: Any, config: LabConfig) -> Measured:
    """Run the code that is shown."""
    lesson, data = backend.tools().lesson, lab_data(config.dataset, config.data_dir, config.fraction)
    weights = draw_weights(SPEC, SEED)
    x, labels = data.train_inputs[:BATCH], data.train_labels[:BATCH]
    own, net = backend.learner(SPEC, weights, "float32"), lesson.plain_net(SPEC, weights)
    expected = {"evaluation": own.evaluate(x), "training": own.train_step(x, labels, 0.0).logits}
    found = {"evaluation": lesson.plain_logits(net, x), "training": lesson.plain_logits(net, x, True)}
    call = f"train(net, inputs, labels, passes={PASSES})"
    training, (losses,) = run_listing(lesson.train, {call: (net, data.train_inputs, data.train_labels, PASSES)})
    network, _ = run_listing(lesson.PlainNet, {})
    summary, _ = run_listing(lesson.summary, {"summary()": ()})
    return Measured(
        {"network": network, "summary": summary, "training": training},
        lesson.plain_tensors(SPEC),
        tuple(losses),
        {mode: float(np.abs(found[mode] - expected[mode]).max()) for mode in expected},
    )


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    names = list(results)

    def code(name: str, caption: str, stacked: bool = False) -> Code:
        return Code(f"{name}_code", caption, {n: r.listings[name] for n, r in results.items()}, stacked)

    rows = [(name, *(str(word) for r in results.values() for word in r.tensors[name])) for name in weight_shapes(SPEC)]
    header = ("tensor", *(word for name in names for word in (f"name in {name}", "shape")))
    blocks = (
        code("network", "A plain network."),
        Text(
            "At the same weights it computes what this project's own network computes, whose parts can be replaced: the logits "
            f"of {BATCH} images are at most {max(max(r.apart.values()) for r in results.values()):.0e} apart, in training mode "
            "and in evaluation mode, in float32."
        ),
        code("summary", "What the network says of itself.", stacked=True),
        Table("tensors", "The same tensors, by the names and in the shapes of each framework.", header, tuple(rows),
              words=len(header)),
        code("training", f"A training of {PASSES} passes that says how far it is."),
        Text(_losses(results)),
        Plot(
            "training_loss",
            partial(_draw, results, config, command),
            "The moving average of the loss against updates, in each framework.",
            "The loss of that training, as a moving average. Dotted: the end of a pass.",
        ),
    )  # fmt: skip
    return Section("network", TITLE, INTRODUCTION, blocks)


def _losses(results: Results) -> str:
    ends = [f"{moving_average(r.losses)[-1]:.4f} in {name}" for name, r in results.items()]
    first = furthest(results, lambda r: r.losses[0])
    return (
        f"After {len(next(iter(results.values())).losses)} updates the average is {listed(ends)}."
        + compared(results, f" Both start from the same weights and see the same batches: their first losses are {'the same' if first == 0 else f'{first:.0e} apart'}. "
                   "What grows from there is rounding.")
    )  # fmt: skip


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    handles = [
        Line2D(
            [], [], color=COLORS[i], marker=MARKERS[i] if i else "", label=plain(name), linestyle="none" if i else "-"
        )
        for i, name in enumerate(results)
    ]
    setting = f"depth {SPEC.num_hidden_layers}, width {WIDTH}, plain SGD, batches of {BATCH}, seed {SEED}"
    sheet = lab_sheet("The loss of a short training", setting, command, 2.4, handles, dataset=config.dataset)
    (axes,) = panels(sheet, 1)
    for i, result in enumerate(results.values()):
        shown = moving_average(result.losses)
        updates = np.arange(1, len(shown) + 1)
        if i == 0:
            axes.plot(updates, shown, color=COLORS[0])
        else:
            axes.plot(updates[::20], shown[::20], color=COLORS[i], linestyle="none", marker=MARKERS[i], markersize=4)
    for number in range(1, PASSES):
        axes.axvline(
            len(next(iter(results.values())).losses) * number / PASSES, color="#6B6B6B", linestyle=":", linewidth=1
        )
    axes.set_xlabel("updates")
    axes.set_ylabel("loss (nats)")
    return sheet.figure
