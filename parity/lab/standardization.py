"""Standardization in linear regression: the intercept, the smoothness constant, and how large a step may be."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from parity.backend import Objective
from parity.data.standardize import STD_OFFSET
from parity.lab.blocks import Plot, Results, Section, Table, Text, compared, furthest, lines_and_marks, listed
from parity.lab.config import LabConfig, lab_data
from parity.lab.drawing import COLORS, MARKERS, framework_handles, lab_sheet, panels
from parity.lab.power_iteration import Eigenvalue, largest_eigenvalue
from parity.weights import Array

TITLE = "Standardization in linear regression"
INTRODUCTION = """\
**Standardizing** a column of $X$ takes its mean away and divides by its standard deviation:

$$m_j = \\frac{1}{n} \\sum_{i=1}^{n} X_{ij}$$

$$s_j = \\sqrt{\\frac{1}{n - \\delta} \\sum_{i=1}^{n} (X_{ij} - m_j)^2}, \\qquad Z_{ij} = \\frac{X_{ij} - m_j}{s_j}$$

- $\\delta = 0$ is the *biased* standard deviation (`ddof=0`), the default of NumPy and JAX.
- $\\delta = 1$ is the *sample* standard deviation (`ddof=1`), the default of PyTorch, and the lab's.

**Linear regression** minimizes, with inputs $x_i$ and targets $y_i$,

$$f(w, b) = \\frac{1}{2 n} \\sum_{i=1}^{n} (x_i^\\top w + b - y_i)^2$$

**Centering is the same as fitting an intercept.** Set the derivative with respect to the intercept to zero:

$$\\frac{\\partial f}{\\partial b} = \\frac{1}{n} \\sum_{i=1}^{n} (x_i^\\top w + b - y_i) = 0$$

The mean of a sum is the sum of the means:

$$\\bar{x}^\\top w + b - \\bar{y} = 0$$

This gives the best intercept for any $w$:

$$b = \\bar{y} - \\bar{x}^\\top w$$

Put it in. Each sample's error becomes

$$x_i^\\top w + (\\bar{y} - \\bar{x}^\\top w) - y_i = (x_i - \\bar{x})^\\top w - (y_i - \\bar{y})$$

What is left is a regression without intercept, of centered inputs and targets:

$$\\min_b f(w, b) = \\frac{1}{2 n} \\sum_{i=1}^{n} \\left( (x_i - \\bar{x})^\\top w - (y_i - \\bar{y}) \\right)^2$$

**How large a step may be** is told by the smoothness constant $L$, the largest eigenvalue of the Hessian:

$$H = \\frac{1}{n} X^\\top X, \\qquad L = \\lambda_\\text{max}(H)$$

Along an eigenvector of eigenvalue $h$, a step of size $t$ multiplies the distance to the minimum by $1 - t h$. Up to $t = 1/L$
no direction changes its sign. Beyond $t = 2/L$ the steepest one grows, and the loss goes to infinity.

**The bound.** The largest eigenvalue is at most the sum of all. That is the trace, the sum of the columns' mean squares. In
columns that are standardized with $\\delta = 0$ every mean square is 1:

$$L \\le \\text{trace}(H) = \\sum_{j=1}^{d} \\frac{1}{n} \\sum_{i=1}^{n} Z_{ij}^2 = \\sum_{j=1}^{d} 1 = d$$

- With the loss over $2 n$, as above and in the lab: $L \\le d$.
- With the mean squared error, the loss over $n$, everything doubles: $L \\le 2 d$.
- With $\\delta = 1$, both are $\\frac{n - 1}{n}$ of that. Constant columns become 0 and count nothing.

**What no unit changes.** Inputs divided by ten have a hundredth of $L$, and need slopes ten times as large. What counts is how
$L$ compares with the other eigenvalues: at a step of $1/L$ a direction of eigenvalue $h$ takes about $L / h$ steps. The median
eigenvalue tells a typical one.

$L$ comes from Hessian-vector products and power iteration. No framework ever makes $H$."""

STEPS = 120
ROWS, COLUMNS = 200, 6  # of the regression with an intercept
WHITE = 255.0  # the largest pixel
PIXELS = "pixels from 0 to 255"
CURVES = (("1/L", 1.0), ("1.9/L", 1.9), ("2.02/L", 2.02))


@dataclass(frozen=True)
class Problem:
    """A regression: inputs, centered or not, and targets."""

    name: str
    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Measured:
    """What one framework found.

    Args:
        smoothness: the largest eigenvalue of each problem's Hessian, by name.
        losses: of gradient descent on the standardized pixels, by the words of its step size.
        intercept_gap: the largest difference between the solution with an intercept and that of centered data.
    """

    smoothness: dict[str, Eigenvalue]
    losses: dict[str, Array]
    intercept_gap: float


def problems(config: LabConfig) -> list[Problem]:
    """Fashion-MNIST's pixels (the target is whether an image is of an even class), and synthetic columns whose means and
    scales differ by a factor of a thousand; each as it is and standardized."""
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    standard = data.train_inputs.astype(np.float64)
    pixels = np.rint(standard * (data.std + STD_OFFSET) + data.mean)  # the same images
    labels = 1.0 - 2.0 * (data.train_labels % 2)
    rng = np.random.default_rng(0)
    scales = 10 ** rng.uniform(-1, 2, 50)
    columns = scales * (rng.standard_normal((1000, 50)) + rng.uniform(0, 3, 50))
    targets = columns @ (rng.standard_normal(50) / scales) + rng.standard_normal(1000)
    return [
        Problem(PIXELS, pixels, labels),
        Problem("pixels from 0 to 1", pixels / WHITE, labels),
        Problem("pixels from 0 to 1, centered", (pixels - pixels.mean(axis=0)) / WHITE, labels),
        Problem("pixels, standardized", standard, labels),
        Problem("badly scaled columns", columns, targets),
        Problem("the same, standardized", (columns - columns.mean(axis=0)) / columns.std(axis=0), targets),
    ]


def measure(backend: Any, config: LabConfig) -> Measured:
    """Smoothness constants by the framework's own Hessian-vector products, and gradient descent by its gradients."""
    make = backend.tools().regression_objective
    smoothness, losses = {}, {}
    for problem in problems(config):
        objective: Objective = make(problem.inputs, problem.targets)
        point = np.zeros(problem.inputs.shape[1])
        smoothness[problem.name] = largest_eigenvalue(
            lambda v, f=objective, p=point: f.hessian_vector_product(p, v), point.size
        )
        if problem.name == "pixels, standardized":
            for words, factor in CURVES:
                losses[words] = _descend(objective, point, factor / smoothness[problem.name].value)
    return Measured(smoothness, losses, _intercept_gap(make))


def _descend(objective: Objective, point: Array, step: float) -> Array:
    found = [objective.value(point)]
    for _ in range(STEPS):
        point = point - step * objective.gradient(point)
        found.append(objective.value(point))
    return np.array(found)


def _intercept_gap(make: Any) -> float:
    """Solve both ways with the framework's own derivatives: by Newton's method, which a quadratic needs one step of."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((ROWS, COLUMNS)) + rng.uniform(0, 3, COLUMNS)
    targets = inputs @ rng.standard_normal(COLUMNS) + 5 + rng.standard_normal(ROWS)

    def solve(x: Array, y: Array) -> Array:
        objective, size = make(x, y), x.shape[1]
        hessian = np.array([objective.hessian_vector_product(np.zeros(size), row) for row in np.eye(size)])
        return -np.linalg.solve(hessian, objective.gradient(np.zeros(size)))

    with_intercept = solve(np.column_stack([inputs, np.ones(len(inputs))]), targets)
    slopes = solve(inputs - inputs.mean(axis=0), targets - targets.mean())
    intercept = targets.mean() - inputs.mean(axis=0) @ slopes
    return float(np.abs(with_intercept - [*slopes, intercept]).max())


def section(results: Results, config: LabConfig, command: str) -> Section:
    """What was found."""
    one: Measured = next(iter(results.values()))
    names, rows, steps = list(results), [], {}
    for problem in problems(config):
        trace = float(np.square(problem.inputs).mean(axis=0).sum())
        living = int((problem.inputs.std(axis=0) > 0).sum())
        values = np.linalg.eigvalsh(problem.inputs.T @ problem.inputs / len(problem.inputs))
        exact, steps[problem.name] = float(values[-1]), float(values[-1] / np.median(values[-living:]))
        rows.append((problem.name, str(living), *(f"{r.smoothness[problem.name].value:.6g}" for r in results.values()),
                     f"{exact:.6g}", f"{trace:.6g}", f"{steps[problem.name]:,.0f}"))  # fmt: skip
    units, scaled, centered, standard = (name for name in one.smoothness if name.startswith("pixels"))
    large, small, after = (one.smoothness[name].value for name in (units, scaled, standard))
    apart = max(
        furthest(results, lambda r, n=p: r.smoothness[n].value) / one.smoothness[p].value for p in one.smoothness
    )
    slow, (fast, factor) = CURVES[0][0], CURVES[-1]
    grows = {words: losses[-1] / losses[0] for words, losses in one.losses.items()}
    bounds = [
        (loss, f"{factor * after:.4g}", f"{'' if factor == 1 else factor}d = {factor * int(rows[3][1])}")
        for loss, factor in (("over 2n, as in the lab", 1), ("over n, the mean squared error", 2))
    ]
    blocks = (
        Text(
            f"*Centering.* With {ROWS} samples of {COLUMNS} features, slopes and intercept of the fit with an intercept and of the "
            f"fit to centered data differ by {max(r.intercept_gap for r in results.values()):.0e} at most, in double precision."
        ),
        Table("smoothness", "The smoothness constant L of half the mean squared error: by Hessian-vector products in each "
              "framework and by NumPy's dense solver, the trace, which it cannot exceed, and L over the median of the eigenvalues.", ("inputs", "columns that vary", *(f"L by {name}" for name in names), "L by NumPy", "trace", "L / median"),
              tuple(rows)),
        Table("bound", "The bound, for the standardized pixels: d is the number of columns that vary.", ("loss", "L", "L is at most"), tuple(bounds)),
        Text(
            f"*Standardizing* the pixels takes L from {large:.4g} to {after:.4g}, below the bound of {rows[3][1]}. That by itself "
            f"says little: {scaled} have an L of {small:.4g}."
        ),
        Text(
            f"But L over the median eigenvalue, {steps[scaled]:,.0f} in either unit, is {steps[centered]:,.0f} once they are "
            f"centered and {steps[standard]:,.0f} once they are standardized: along a typical direction gradient descent needs "
            f"{steps[standard] / steps[scaled]:.1%} of the steps."
            + compared(results, f" {listed(names)} agree on L to {apart:.0e} of it.")
        ),
        Text(
            f"*Gradient descent* on the standardized pixels for {STEPS} steps: the loss ends at {grows[slow]:.3f} times its "
            f"start with a step of {slow}, and at {grows[fast]:.3g} times its start with {fast}. There every step "
            f"multiplies the distance along the steepest direction by {factor - 1:.2f}, and the loss's part there by "
            f"{(factor - 1) ** 2:.4f}."
        ),
        Plot(
            "gradient_descent",
            partial(_draw, results, config, command),
            "Loss of gradient descent on standardized pixels against steps, for step sizes of " f"{listed([words for words, _ in CURVES])}.",
            f"{lines_and_marks(results, 'squares')}With {CURVES[1][0]} what lies in the steepest direction changes its sign in every "
            f"step, and still shrinks. With {CURVES[-1][0]} it grows: the loss falls at first, by what the other directions gain, and "
            "then the steepest one is all there is.",
        ),
    )  # fmt: skip
    return Section("standardization", TITLE, INTRODUCTION, blocks)


def _draw(results: Results, config: LabConfig, command: str) -> Any:
    handles = [Line2D([], [], color=COLORS[i], label=f"step {words}") for i, (words, _) in enumerate(CURVES)]
    handles += framework_handles(list(results))
    setting = f"{config.fraction:.0%} of its training set, standardized; float64"
    sheet = lab_sheet(
        "Gradient descent up to the largest step and just beyond",
        setting,
        command,
        3.0,
        handles,
        dataset=config.dataset,
    )
    (axes,) = panels(sheet, 1)
    for index, result in enumerate(results.values()):
        for i, (words, _) in enumerate(CURVES):
            losses = result.losses[words]
            if index == 0:
                axes.plot(losses, color=COLORS[i])
            else:
                axes.plot(
                    np.arange(0, STEPS + 1, 8),
                    losses[::8],
                    color=COLORS[i],
                    linestyle="none",
                    marker=MARKERS[index],
                    markersize=4,
                )
    axes.set_yscale("log")
    axes.set_xlabel("steps")
    axes.set_ylabel("half the mean squared error")
    return sheet.figure
