"""The faults that need the derivative by hand. Each is a function of the honest part and its arguments.

The diagnosis compares a candidate with the reference that has one of them.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data import Masks
from parity.faults import NEUTRAL_FAULTS, Fault, cumulative_decay, debiased_decay
from parity.reference import parts
from parity.reference.network import State
from parity.reference.parts import Forward, Pass, exact, row, scale_and_shift
from parity.reference.training_faults import TRAINING_FAULTS, heavy_ball, weight_decay
from parity.verdict.noise import MANTISSA_BITS
from parity.weights import AFFINE, Array, Weights, is_statistic

Part = Callable[..., Any]


def round_mantissa(x: Array, bits: int) -> Array:
    """Round `x` to that many bits of mantissa after the leading one, to nearest, ties to even."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)


def reduced_matmul(honest: Part, x: Array, kernel: Array, bias: Array, bits: int) -> tuple[Array, Callable]:
    """Return `round(x) @ round(kernel) + bias`; the derivative of the rounding is 1."""
    return honest(round_mantissa(x, bits), round_mantissa(kernel, bits), bias)


def fast_variance(honest: Part, x: Array, rounded: Callable[[Array], Array] = exact) -> tuple[Array, Array, Callable]:
    """Return `E[x^2] - E[x]^2` as variance, which cancels where the mean is large."""
    mean, _, pullback = honest(x, rounded)
    return mean, np.maximum((x**2).mean(axis=-2) - mean**2, 0), pullback


def population_leak(honest: Part, x: Array, rounded: Callable[[Array], Array] = exact) -> tuple[Array, Array, Callable]:
    """Take the moments over the members too."""
    if x.ndim < 3:
        return honest(x, rounded)
    pooled = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    mean, var, pullback = honest(pooled, rounded)
    members = x.shape[-3]

    def shared(dmean: Array, dvar: Array) -> Array:
        return pullback(dmean.sum(axis=-2), dvar.sum(axis=-2)).reshape(x.shape)

    return np.repeat(row(mean), members, axis=-2), np.repeat(row(var), members, axis=-2), shared


def epsilon_outside_sqrt(
    honest: Part, x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool
):
    """Return `gamma (x - mean) / (sqrt(var) + eps) + beta`; the root's derivative at 0 counts as 0."""
    std = np.sqrt(var)
    half = np.divide(0.5, std, out=np.zeros(std.shape), where=std > 0)
    return scale_and_shift(x, mean, 1 / (std + eps), lambda s: -half * s**2, gamma, beta)


def wrong_axis(honest: Part, x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """In training, normalize by the mean and variance of each sample over its features."""
    if not train:
        return honest(x, mean, var, gamma, beta, eps, train)
    own_mean, own_var, pull_moments = parts.batch_moments(parts.transpose(x))
    inverse_std = 1 / np.sqrt(own_var + eps)[..., None]
    centered = x - own_mean[..., None]

    def pullback(dy: Array) -> tuple[Array, Array, Array, Array, Array]:
        dh = dy * row(gamma)
        dmean = -(dh * inverse_std).sum(axis=-1)
        dvar = (dh * centered * inverse_std**3).sum(axis=-1) / -2
        dx = dh * inverse_std + parts.transpose(pull_moments(dmean, dvar))
        return dx, 0 * mean, 0 * var, (dy * centered * inverse_std).sum(axis=-2), dy.sum(axis=-2)

    return row(gamma) * centered * inverse_std + row(beta), pullback


def detached_statistics(
    honest: Part, x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool
):
    """Let no gradient flow through the mean and the variance."""
    y, pull = honest(x, mean, var, gamma, beta, eps, train)

    def pullback(dy: Array) -> tuple[Array, Array, Array, Array, Array]:
        dx, dmean, dvar, dgamma, dbeta = pull(dy)
        return dx, 0 * dmean, 0 * dvar, dgamma, dbeta

    return y, pullback


def float32_statistics(honest: Part, *arguments: Any) -> tuple[Array, Array]:
    """Round the new statistics to float32."""
    mean, var = honest(*arguments)
    return mean.astype(np.float32).astype(np.float64), var.astype(np.float32).astype(np.float64)


def padded_batch(
    honest: Part, forward: Pass, inputs: Array, train: bool, masks: Masks | None = None, size: int = 32
) -> Forward:
    """In training, fill the batch up with zero rows to a multiple of `size`; they enter the statistics."""
    n = inputs.shape[-2]
    short = -n % int(size)
    if not train or not short:
        return honest(forward, inputs, train, masks)
    if masks is not None:
        masks = np.pad(masks, ((0, 0), (0, short), (0, 0)), constant_values=True)
    padded = np.concatenate([inputs, np.zeros((*inputs.shape[:-2], short, inputs.shape[-1]))], axis=-2)
    output = honest(forward, padded, train, masks)

    def pullback(dlogits: Array) -> Weights:
        return output.pullback(np.concatenate([dlogits, np.zeros((*dlogits.shape[:-2], short, dlogits.shape[-1]))], -2))

    cut = {name: array[..., :n, :] for name, array in output.activations.items()}
    return Forward(output.logits[..., :n, :], output.statistics, cut, pullback)


def eval_uses_batch_statistics(
    honest: Part, forward: Pass, inputs: Array, train: bool, masks: Masks | None = None
) -> Forward:
    """Evaluate in training mode; the running statistics stay."""
    output = honest(forward, inputs, True, masks)
    return output if train else replace(output, statistics={})


def double_softmax(
    honest: Part, logits: Array, labels: NDArray[np.integer], rounded: Part = parts.exact
) -> tuple[Any, Array]:
    """Take probabilities for logits."""
    p = rounded(np.exp(parts.log_softmax(logits)))
    loss, dp = honest(p, labels, rounded)
    return loss, p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def label_smoothing(
    honest: Part, logits: Array, labels: NDArray[np.integer], rounded: Part = parts.exact, smoothing: float = 0.1
) -> tuple[Any, Array]:
    """Return `(1 - smoothing) * loss + smoothing * mean over the classes of -log p`."""
    loss, gradient = honest(logits, labels, rounded)
    log_p = parts.log_softmax(logits)
    uniform = (rounded(np.exp(log_p)) - 1 / logits.shape[-1]) / len(labels)
    mean_nll = -log_p.mean(axis=-1).mean(axis=-1)
    return (1 - smoothing) * loss + smoothing * mean_nll, (1 - smoothing) * gradient + smoothing * uniform


def untrained_affine(
    honest: Part, weights: Weights, gradients: Weights, rate: Any, memory: Weights
) -> tuple[Weights, Weights]:
    """Do not update gamma and beta."""
    return honest(weights, {n: g for n, g in gradients.items() if not n.endswith(AFFINE)}, rate, memory)


def scaled_learning_rate(
    honest: Part, weights: Weights, gradients: Weights, rate: Any, memory: Weights, factor: float = 0.5
) -> tuple[Weights, Weights]:
    """Use the learning rate `factor * rate`."""
    return honest(weights, gradients, factor * np.asarray(rate), memory)


def stale_statistics(honest: Part, state: State, initial: State, update: int) -> State:
    """Start every update from the statistics that were loaded."""
    state = honest(state, initial, update)
    stale = {name: array for name, array in initial.weights.items() if is_statistic(name)}
    return replace(state, weights=state.weights | stale)


def cumulative_average(honest: Part, state: State, initial: State, update: int) -> State:
    """Make the running statistics the plain average over all updates."""
    return _with_decay(honest(state, initial, update), cumulative_decay(initial.spec.decay, update))


def debiased_statistics(honest: Part, state: State, initial: State, update: int) -> State:
    """Make the running statistics a zero-debiased moving average."""
    return _with_decay(honest(state, initial, update), debiased_decay(initial.spec.decay, update))


def _with_decay(state: State, decay: float) -> State:
    return replace(state, spec=replace(state.spec, decay=decay))


FAULTS: Mapping[str, Fault] = {
    **TRAINING_FAULTS,
    "bfloat16_matmul": ("linear", partial(reduced_matmul, bits=MANTISSA_BITS["bfloat16"])),
    "tf32_matmul": ("linear", partial(reduced_matmul, bits=MANTISSA_BITS["tf32"])),
    "fast_variance": ("batch_moments", fast_variance),
    "population_leak": ("batch_moments", population_leak),
    "epsilon_outside_sqrt": ("normalize", epsilon_outside_sqrt),
    "wrong_axis": ("normalize", wrong_axis),
    "detached_statistics": ("normalize", detached_statistics),
    "float32_statistics": ("update_statistics", float32_statistics),
    "padded_batch": ("apply", padded_batch),
    "eval_uses_batch_statistics": ("apply", eval_uses_batch_statistics),
    "double_softmax": ("objective", double_softmax),
    "label_smoothing": ("objective", label_smoothing),
    "untrained_affine": ("optimizer", untrained_affine),
    "weight_decay": ("optimizer", weight_decay),
    "heavy_ball": ("optimizer", heavy_ball),
    "scaled_learning_rate": ("optimizer", scaled_learning_rate),
    "stale_statistics": ("carry", stale_statistics),
    "cumulative_average": ("carry", cumulative_average),
    "debiased_statistics": ("carry", debiased_statistics),
}


def part_of(name: str) -> str:
    """Return the part of the network, or of its training, that a fault replaces."""
    return (NEUTRAL_FAULTS | dict(FAULTS))[name][0]


def default_values(name: str) -> dict[str, float]:
    """Return the values that a fault has unless others are given: a decay, a coefficient."""
    change = (NEUTRAL_FAULTS | dict(FAULTS))[name][1]
    given = inspect.signature(change).parameters.values() if callable(change) else ()
    return {p.name: p.default for p in given if type(p.default) in (int, float)}
