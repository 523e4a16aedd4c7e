"""Why batch norm allows larger steps: the largest Hessian eigenvalue, and how gradients grow with depth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from scipy.sparse.linalg import LinearOperator, eigsh

from parity.data import IndexStream
from parity.lab.blocks import Plot, Results, Section, Table, Text, compared, furthest, lines_and_marks, listed
from parity.lab.config import SEED, WIDTH, LabConfig, lab_data
from parity.lab.drawing import MARKERS, framework_handles, lab_sheet, panels
from parity.report.style import batch_norm_words, plain, series_styles
from parity.spec import BlockOrder, Initialization, ModelSpec
from parity.weights import Array, Weights, draw_weights, is_statistic, weight_shapes

TITLE = "Why batch norm allows larger steps"
INTRODUCTION = """\
**A scale for the step.** For a network too, let $h$ be the largest eigenvalue of its loss's Hessian. Beyond a step of $2 / h$
gradient descent leaves a quadratic minimum of that shape.

A network's loss is no quadratic: $h$ changes along the way, and minibatches add noise. So $2 / h$ is no law, but a scale to hold
the divergent learning rate against.

The Hessian here is that of the mean cross entropy of one batch in training mode: the gradient runs through the batch's mean and
variance. Lanczos's iteration finds $h$ by Hessian-vector products; the Hessian itself is never made.

**Batch norm adapts the step.** What is normalized does not change when the kernel and bias before it grow, up to
$\\varepsilon$:

$$f(a w) = f(w) \\quad \\Rightarrow \\quad w^\\top \\nabla f(w) = 0$$

$$\\nabla f(a w) = \\frac{1}{a} \\nabla f(w), \\qquad \\nabla^2 f(a w) = \\frac{1}{a^2} \\nabla^2 f(w)$$

The gradient stands at right angles to the weights, so every step makes them longer, and the Hessian smaller. A step that is too
large is its own remedy (Arora, Li and Lyu, "Theoretical Analysis of Auto Rate-Tuning by Batch Normalization", 2019).

So the eigenvalue at the initial weights is no bound. Look at the one that training arrives at. That batch norm makes the loss
smoother (Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", 2018) is said of the steps that
training makes.

Not every step is allowed: gamma, beta and the head are not normalized away. With batch norm too there is a learning rate at
which they leave.

**Batch norm has a price, which depth shows.** In a wide network of Linear, BatchNorm and ReLU at its initial weights, the
gradient's norm grows from each layer to the one below it (Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz, "A Mean Field
Theory of Batch Normalization", 2019) by

$$\\sqrt{\\frac{\\pi}{\\pi - 1}}$$

On its way back, ReLU keeps half of a gradient's mean square. The next normalization divides by the variance of ReLU of a
normalized feature, which is only $\\frac{\\pi - 1}{2 \\pi}$. Over fifty layers that is a factor of ten thousand: no learning rate
suits the first layer and the last. The lab's own order normalizes after ReLU, and has the same two numbers."""

DEEP = 50  # the lab's deepest network
GROWTH = float(np.sqrt(np.pi / (np.pi - 1)))
TRACED_DEPTH = 4
TRACED_RUNS = ((False, 0.1), (True, 0.1), (True, 1.0))  # batch norm, learning rate
ORDERS = {
    "Linear, BatchNorm, ReLU": BlockOrder.NORM_FIRST,
    "Linear, ReLU, BatchNorm (the lab's)": BlockOrder.ACTIVATION_FIRST,
}
FIRST_FITTED, LEFT_OUT = 2, 2  # layers whose gradients a line is put through: the first, and how many on top are not
TOLERANCE = 1e-4  # of the eigenvalue

Setting = tuple[int, bool]  # depth, batch norm


@dataclass(frozen=True)
class Measured:
    """What one framework found.

    Args:
        initial: the largest eigenvalue at the initial weights, by depth and batch norm.
        traced: along training, at the updates that are watched, by batch norm and learning rate.
        gradients: norm of the gradient of each hidden kernel but the first, from the bottom up, by the order of a block.
    """

    initial: Mapping[Setting, float]
    traced: Mapping[tuple[bool, float], Array]
    gradients: Mapping[str, Array]


def flatten(weights: Mapping[str, Array], spec: ModelSpec) -> Array:
    """What is trained as one vector, in the order that `parity.backend.Tools.network_objective` takes."""
    trained = [name for name in weight_shapes(spec) if not is_statistic(name)]
    return np.concatenate([np.ravel(weights[name]).astype(np.float64) for name in trained])


def measure(backend: Any, config: LabConfig) -> Measured:
    """Eigenvalues by the framework's Hessian-vector products, gradients by its learner, all in float64."""
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    batch = data.train_inputs[: config.curvature_samples], data.train_labels[: config.curvature_samples]
    initial = {}
    for depth in config.curvature_depths:
        for on in (False, True):
            spec = ModelSpec(num_hidden_layers=depth, use_batch_norm=on)
            initial[depth, on] = hessian_eigenvalue(backend, spec, draw_weights(spec, SEED), batch)[0]
    traced = {run: eigenvalues_in_training(backend, config, *run, batch) for run in TRACED_RUNS}
    return Measured(initial, traced, {words: gradient_norms(backend, config, order) for words, order in ORDERS.items()})


def hessian_eigenvalue(
    backend: Any, spec: ModelSpec, weights: Weights, batch: Any, start: Array | None = None, objective: Any = None
) -> tuple[float, Array]:
    """The largest eigenvalue of the Hessian of a network's mean cross entropy on a batch, and its eigenvector.

    Args:
        backend: whose Hessian-vector products are used, in float64.
        spec: what the network is.
        weights: at which the Hessian is.
        batch: inputs of shape (n, input_dim) and labels of shape (n,).
        start: a vector to begin with, such as the last one of weights close by.
        objective: the network's, if it has been made already.
    """
    objective = objective or backend.tools().network_objective(spec, weights, *batch)
    point = flatten(weights, spec)
    start = np.random.default_rng(0).standard_normal(point.size) if start is None else start
    operator: Any = LinearOperator  # whose type stubs know neither its arguments nor a tolerance that is no integer
    hessian = operator(
        (point.size, point.size),
        matvec=lambda v: objective.hessian_vector_product(point, np.ravel(v)),
        dtype=np.float64,
    )
    options: Any = {"v0": start, "tol": TOLERANCE}
    values, vectors = eigsh(hessian, 1, which="LA", **options)
    return float(values[0]), vectors[:, 0]


def eigenvalues_in_training(backend: Any, config: LabConfig, on: bool, rate: float, batch: Any) -> Array:
    """The largest eigenvalue on one batch after each of `config.watched_updates` of a training at one learning rate."""
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    spec = ModelSpec(num_hidden_layers=TRACED_DEPTH, use_batch_norm=on)
    weights = draw_weights(spec, SEED)
    learner = backend.learner(spec, weights, "float64")
    objective = backend.tools().network_objective(spec, weights, *batch)
    stream, values, vector = IndexStream(len(data.train_labels), 32, 0).next_pass(), [], None
    for update in range(max(config.watched_updates) + 1):
        if update in config.watched_updates:
            value, vector = hessian_eigenvalue(backend, spec, learner.weights(), batch, vector, objective)
            values.append(value)
        rows = stream[update % len(stream)]
        learner.train_step(data.train_inputs[rows].astype(np.float64), data.train_labels[rows], rate)
    return np.array(values)


def gradient_norms(backend: Any, config: LabConfig, order: BlockOrder) -> Array:
    """Norms of the gradients of the hidden kernels but the first, at the initial weights, from the bottom up."""
    spec = ModelSpec(
        num_hidden_layers=config.gradient_depth, hidden_width=config.gradient_width, block_order=order,
        initialization=Initialization.LECUN_NORMAL,
    )  # fmt: skip
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    rows = slice(config.gradient_samples)
    learner = backend.learner(spec, draw_weights(spec, SEED), "float64")
    gradients = learner.train_step(data.train_inputs[rows].astype(np.float64), data.train_labels[rows], 0.0).gradients
    return np.array([np.linalg.norm(gradients[f"hidden.{i}.kernel"]) for i in range(1, config.gradient_depth)])


def growth(norms: Array) -> float:
    """The factor by which a gradient's norm grows from a layer to the one below: a line through the logarithms of all
    but the uppermost two, where the head's shape still shows.

    >>> growth(np.array([8.0, 4.0, 2.0, 1.0, 7.0, 7.0]))
    2.0
    """
    logs = np.log(norms[:-LEFT_OUT])
    return float(np.round(np.exp(-np.polyfit(np.arange(len(logs)), logs, 1)[0]), 12))


def section(
    results: Results,
    config: LabConfig,
    command: str,
    divergent: Mapping[tuple[str, int, bool], str] | None = None,
) -> Section:
    """What was found.

    Args:
        results: by framework.
        config: the gallery's.
        command: what made it.
        divergent: the smallest divergent learning rate of the phase diagram in words, by framework, depth and batch norm.
    """
    names, one = list(results), next(iter(results.values()))
    rows = []
    for depth in config.curvature_depths:
        for on in (False, True):
            value = one.initial[depth, on]
            found = [(divergent or {}).get((name, depth, on), "not measured") for name in names]
            rows.append((str(depth), "on" if on else "off", f"{value:.4g}", f"{2 / value:.3g}", *found))
    header = ("depth", "batch norm", "largest eigenvalue", "2 / eigenvalue", *(f"divergent rate, {n}" for n in names))
    apart = max(furthest(results, lambda r, s=s: r.initial[s]) / abs(one.initial[s]) for s in one.initial)
    along = max(furthest(results, lambda r, run=run: r.traced[run] / one.traced[run]) for run in one.traced)
    rates = {words: growth(one.gradients[words]) for words in ORDERS}
    first, lab = ORDERS
    blocks = (
        Table("largest_eigenvalues", f"The largest Hessian eigenvalue at the initial weights ({names[0]}), and the smallest divergent "
              "learning rate of the phase diagram at the end.", header, tuple(rows), words=2),
        Text(
            compared(results, f"{listed(names)} agree on every eigenvalue to {apart:.0e} of it, along training to {along:.0e} (Lanczos's iteration stops at "
            f"{TOLERANCE:.0e}). ")
            + f"{_comparison(one, config)}\n\nAlong {config.watched_updates[-1]} updates at depth {TRACED_DEPTH} it goes\n\n{_traces(one)}."
        ),
        Plot(
            "eigenvalues",
            partial(_draw_eigenvalues, results, config, command),
            "Largest Hessian eigenvalue against depth at the initial weights, and against updates along training, with and "
            "without batch norm.",
            "Left: at the initial weights. Right: along training; the dashed lines are two over the learning rates, above which "
            f"a quadratic of that shape would not be stable. {lines_and_marks(results, 'marks without a line')}",
        ),
        Text(
            f"The gradient of a {config.gradient_width} units wide network at its initial weights, on a batch of "
            f"{config.gradient_samples}, from a layer to the one below: in blocks of {first} its norm grows by {rates[first]:.4f}, "
            f"where theory, for infinite width and batches, says {GROWTH:.4f}; in the lab's order, ReLU "
            f"before BatchNorm, by {rates[lab]:.4f}.\n\nThat is a line through the logarithms of layers {FIRST_FITTED} to "
            f"{config.gradient_depth - LEFT_OUT}: the first kernel has another shape, and in the uppermost layers the head still "
            f"shows. Over {DEEP} layers {rates[first]:.4f} makes a factor of {rates[first] ** DEEP:,.0f}, and {GROWTH:.4f} one of "
            f"{GROWTH**DEEP:,.0f}."
            + compared(results, f" The norms of {listed(names)} differ by "
            f"{max(furthest(results, lambda r, w=w: r.gradients[w] / one.gradients[w]) for w in ORDERS):.0e} at most.")
        ),
        Plot(
            "gradient_growth",
            partial(_draw_gradients, results, config, command),
            "Norm of the gradient of each hidden kernel against its layer, for both orders of a block, with the predicted slope.",
            "The lower the layer, the larger its gradient. Dashed: the slope that theory predicts for Linear, BatchNorm, ReLU. "
            f"{lines_and_marks(results, 'open marks')}",
        ),
    )  # fmt: skip
    return Section("step_size", TITLE, INTRODUCTION, blocks)


def _traces(one: Measured) -> str:
    return ";\n".join(
        f"- from {one.traced[on, rate][0]:.3g} to {one.traced[on, rate][-1]:.3g} {'with' if on else 'without'} batch norm at a "
        f"learning rate of {rate:g}, where two over the rate is {2 / rate:.3g}"
        for on, rate in TRACED_RUNS
    )


def _comparison(one: Measured, config: LabConfig) -> str:
    lower = [d for d in config.curvature_depths if one.initial[d, True] < one.initial[d, False]]
    higher = [d for d in config.curvature_depths if d not in lower]

    def words(depths: Sequence[int]) -> str:
        return ("depth " if len(depths) == 1 else "depths ") + listed([str(d) for d in depths])

    if not higher or not lower:
        return f"Batch norm makes it {'smaller' if lower else 'larger'} at every depth."
    return f"With batch norm it is smaller at {words(lower)} and larger at {words(higher)}."


def _draw_eigenvalues(results: Results, config: LabConfig, command: str) -> Any:
    first = series_styles(("",), (False, True))
    handles: list[Any] = [
        Line2D([], [], color=style.color, linestyle=style.dash, label=batch_norm_words(on))
        for (_, on), style in first.items()
    ]
    handles += [
        Line2D([], [], color="#444444", marker=MARKERS[i], markerfacecolor="#444444" if i == 0 else "none",
               markersize=4 + 4 * i, linestyle="none", label=plain(name))
        for i, name in enumerate(results)
    ]  # fmt: skip
    setting = f"a batch of {config.curvature_samples}; width {WIDTH}, the lab's order, seed {SEED}; float64"
    sheet = lab_sheet(
        "The largest eigenvalue of the loss's Hessian",
        setting,
        command,
        3.0,
        handles,
        dataset=config.dataset,
        columns=2,
    )
    left, right = panels(sheet, 2, ("at the initial weights", f"along training, depth {TRACED_DEPTH}"))
    for i, result in enumerate(results.values()):
        for on in (False, True):
            look: Any = {"color": first["", on].color, "marker": MARKERS[i], "markersize": 4 + 4 * i}
            look |= {"linestyle": first["", on].dash} if i == 0 else {"linestyle": "none", "markerfacecolor": "none"}
            depths = config.curvature_depths
            left.plot(depths, [result.initial[d, on] for d in depths], **look)
            for norm, rate in TRACED_RUNS:
                if norm is on:
                    right.plot(config.watched_updates, result.traced[on, rate], **look)
                    if i == 0:
                        where = config.watched_updates[-1], result.traced[on, rate][-1]
                        right.annotate(
                            f"rate {rate:g}", where, (7, 0), textcoords="offset points", va="center", fontsize=8
                        )
    for rate in sorted({rate for _, rate in TRACED_RUNS}):
        right.axhline(2 / rate, color="#6B6B6B", linestyle="--", linewidth=1)
        right.text(
            config.watched_updates[-1] * 0.55,
            2 / rate,
            "2 / " + format(rate, "g"),
            fontsize=8,
            va="bottom",
            color="#555555",
        )
    for axes in (left, right):
        axes.set_yscale("log")
    left.set_xscale("log")
    left.minorticks_off()
    left.set_xticks(config.curvature_depths, [str(depth) for depth in config.curvature_depths])
    right.set_xlim(right=1.25 * config.watched_updates[-1] or None)  # room for the rates
    left.set_xlabel("depth (hidden layers, log scale)")
    right.set_xlabel("updates")
    left.set_ylabel("largest eigenvalue")
    return sheet.figure


def _draw_gradients(results: Results, config: LabConfig, command: str) -> Any:
    colors = dict(zip(ORDERS, ("#0072B2", "#D55E00"), strict=True))
    handles = [Line2D([], [], color=c, marker="o", markersize=4, label=words) for words, c in colors.items()]
    handles += framework_handles(list(results), hollow=True)
    handles.append(Line2D([], [], color="#444444", linestyle="--", label=f"growth of {GROWTH:.3f} a layer"))
    setting = (
        f"a batch of {config.gradient_samples}; width {config.gradient_width}, depth "
        f"{config.gradient_depth}, LeCun's initial weights; float64"
    )
    sheet = lab_sheet("Gradients grow towards the input", setting, command, 3.0, handles, dataset=config.dataset)
    (axes,) = panels(sheet, 1)
    layers = np.arange(2, config.gradient_depth + 1)
    for index, result in enumerate(results.values()):
        for words, color in colors.items():
            line: Any = {"linewidth": 1} if index == 0 else {"linestyle": "none", "markerfacecolor": "none"}
            axes.plot(
                layers, result.gradients[words], color=color, marker=MARKERS[index], markersize=4 + 3 * index, **line
            )
    norms = next(iter(results.values())).gradients[next(iter(ORDERS))]
    middle = len(norms) // 2
    axes.plot(layers, norms[middle] * GROWTH ** (layers[middle] - layers), color="#444444", linestyle="--", zorder=1)
    axes.set_yscale("log")
    axes.set_xlabel("hidden layer, from the input")
    axes.set_ylabel("norm of the kernel's gradient")
    return sheet.figure
