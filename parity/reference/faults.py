"""The reference's own parts, faulty: what the diagnosis holds a candidate against."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data import Masks
from parity.faults import Fault, cumulative_decay, debiased_decay
from parity.reference import parts
from parity.reference.network import State
from parity.reference.parts import Forward, Pass, exact, row, scale_and_shift
from parity.reference.training_faults import TRAINING_FAULTS
from parity.spec import RunningVariance
from parity.weights import AFFINE, Array, Weights, is_statistic

BFLOAT16_BITS, TF32_BITS = 7, 10  # of mantissa, the leading one not counted


def missing_bias(x: Array, kernel: Array, bias: Array) -> tuple[Array, Callable]:
    """`x @ kernel`: the bias is not applied."""
    return parts.linear(x, kernel, 0 * bias)[0], lambda dz: _without_bias(parts.linear(x, kernel, bias)[1](dz))


def _without_bias(gradients: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    dx, dkernel, dbias = gradients
    return dx, dkernel, 0 * dbias


def round_mantissa(x: Array, bits: int) -> Array:
    """`x` to the nearest number with that many bits of mantissa after the leading one, ties to even."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)


def reduced_matmul(x: Array, kernel: Array, bias: Array, bits: int) -> tuple[Array, Callable]:
    """`round(x) @ round(kernel) + bias`; the gradient passes through the rounding as if it were not there."""
    return parts.linear(round_mantissa(x, bits), round_mantissa(kernel, bits), bias)


def fast_variance(x: Array, rounded: Callable[[Array], Array] = exact) -> tuple[Array, Array, Callable]:
    """Return `E[x^2] - E[x]^2` as variance, which cancels where the mean is large."""
    mean, _, pullback = parts.batch_moments(x, rounded)
    return mean, np.maximum((x**2).mean(axis=-2) - mean**2, 0), pullback


def population_leak(x: Array, rounded: Callable[[Array], Array] = exact) -> tuple[Array, Array, Callable]:
    """Return moments over the members too."""
    if x.ndim < 3:
        return parts.batch_moments(x, rounded)
    pooled = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    mean, var, pullback = parts.batch_moments(pooled, rounded)
    members = x.shape[-3]

    def shared(dmean: Array, dvar: Array) -> Array:
        return pullback(dmean.sum(axis=-2), dvar.sum(axis=-2)).reshape(x.shape)

    return np.repeat(row(mean), members, axis=-2), np.repeat(row(var), members, axis=-2), shared


def unbiased_normalizer(x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """The unbiased variance in the normalizer."""
    n = x.shape[-2]
    factor = n / max(n - 1, 1) if train else 1.0
    inverse_std = 1 / np.sqrt(var * factor + eps)
    return scale_and_shift(x, mean, inverse_std, lambda s: -factor * s**3 / 2, gamma, beta)


def epsilon_outside_sqrt(x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """`gamma (x - mean) / (sqrt(var) + eps) + beta`; the root's derivative at 0 is taken as 0."""
    std = np.sqrt(var)
    half = np.divide(0.5, std, out=np.zeros(std.shape), where=std > 0)
    return scale_and_shift(x, mean, 1 / (std + eps), lambda s: -half * s**2, gamma, beta)


def epsilon_twice_in_eval(x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """Evaluation divides by `sqrt(var + 2 eps)`."""
    return parts.normalize(x, mean, var, gamma, beta, eps if train else 2 * eps, train)


def scale_plus_one(x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """Gamma read as `1 + gamma`."""
    return parts.normalize(x, mean, var, 1 + gamma, beta, eps, train)


def wrong_axis(x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """In training, the mean and variance of each sample over its features."""
    if not train:
        return parts.normalize(x, mean, var, gamma, beta, eps, train)
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


def detached_statistics(x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool):
    """No gradient through the mean and the variance."""
    y, pull = parts.normalize(x, mean, var, gamma, beta, eps, train)

    def pullback(dy: Array) -> tuple[Array, Array, Array, Array, Array]:
        dx, dmean, dvar, dgamma, dbeta = pull(dy)
        return dx, 0 * dmean, 0 * dvar, dgamma, dbeta

    return y, pullback


def frozen_running_statistics(running_mean: Array, running_var: Array, *batch: Any) -> tuple[Array, Array]:
    """Never written."""
    return running_mean, running_var


def double_update(
    running_mean: Array, running_var: Array, mean: Array, var: Array, size: int, decay: float, kind: RunningVariance
) -> tuple[Array, Array]:
    """Written twice in a step."""
    once = parts.update_statistics(running_mean, running_var, mean, var, size, decay, kind)
    return parts.update_statistics(*once, mean, var, size, decay, kind)


def float32_statistics(*arguments: Any) -> tuple[Array, Array]:
    """Rounded to float32 after each update."""
    mean, var = parts.update_statistics(*arguments)
    return mean.astype(np.float32).astype(np.float64), var.astype(np.float32).astype(np.float64)


def unscaled_dropout(x: Array, mask: NDArray[np.bool_], rate: float) -> tuple[Array, Callable]:
    """The units that are kept stay as they are."""
    del rate
    return parts.dropout(x, mask, 0.0)


def batch_of_one(size: int) -> None:
    """One sample is let through."""


def padded_batch(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None, size: int = 32) -> Forward:
    """A batch that is no multiple of `size` is filled up with zero rows, which enter the statistics."""
    n = inputs.shape[-2]
    short = -n % int(size)
    if not train or not short:
        return forward(inputs, train, masks)
    if masks is not None:
        masks = np.pad(masks, ((0, 0), (0, short), (0, 0)), constant_values=True)
    padded = np.concatenate([inputs, np.zeros((*inputs.shape[:-2], short, inputs.shape[-1]))], axis=-2)
    output = forward(padded, train, masks)

    def pullback(dlogits: Array) -> Weights:
        return output.pullback(np.concatenate([dlogits, np.zeros((*dlogits.shape[:-2], short, dlogits.shape[-1]))], -2))

    cut = {name: array[..., :n, :] for name, array in output.activations.items()}
    return Forward(output.logits[..., :n, :], output.statistics, cut, pullback)


def eval_uses_batch_statistics(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Evaluation in training mode; the running statistics stay."""
    output = forward(inputs, True, masks)
    return output if train else replace(output, statistics={})


def train_uses_running_statistics(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Training in evaluation mode; the running statistics stay."""
    del train, masks
    return forward(inputs, False, None)


def eval_updates_statistics(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Evaluation writes the batch's statistics into the running ones."""
    output = forward(inputs, train, masks)
    return output if train else replace(output, statistics=forward(inputs, True, None).statistics)


def forgotten_eval(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Evaluate as in training: by the batch's statistics, which enter the running ones."""
    return forward(inputs, True, masks if train else None)


def summed_loss(logits: Array, labels: NDArray[np.integer]) -> tuple[Any, Array]:
    """The sum over the batch instead of the mean."""
    loss, gradient = parts.cross_entropy(logits, labels)
    return loss * len(labels), gradient * len(labels)


def double_softmax(logits: Array, labels: NDArray[np.integer]) -> tuple[Any, Array]:
    """Probabilities taken for logits."""
    p = np.exp(parts.log_softmax(logits))
    loss, dp = parts.cross_entropy(p, labels)
    return loss, p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def label_smoothing(logits: Array, labels: NDArray[np.integer], smoothing: float = 0.1) -> tuple[Any, Array]:
    """`(1 - s) nll + s mean(-log p)` over the classes."""
    loss, gradient = parts.cross_entropy(logits, labels)
    log_p = parts.log_softmax(logits)
    uniform = (np.exp(log_p) - 1 / logits.shape[-1]) / len(labels)
    mean_nll = -log_p.mean(axis=-1).mean(axis=-1)
    return (1 - smoothing) * loss + smoothing * mean_nll, (1 - smoothing) * gradient + smoothing * uniform


def untrained_affine(weights: Weights, gradients: Weights, rate: Any, memory: Weights) -> tuple[Weights, Weights]:
    """Gamma and beta are never updated."""
    return parts.plain_sgd(weights, {n: g for n, g in gradients.items() if not n.endswith(AFFINE)}, rate, memory)


def weight_decay(
    weights: Weights,
    gradients: Weights,
    rate: Any,
    memory: Weights,
    coefficient: float = 1e-4,
    kernels_only: bool = False,
) -> tuple[Weights, Weights]:
    """`gradient + coefficient * weight` in the gradient's place, or in every kernel's gradient's."""
    decayed: Weights = {
        name: gradient + coefficient * weights[name] if name.endswith(".kernel") or not kernels_only else gradient
        for name, gradient in gradients.items()
    }
    return parts.plain_sgd(weights, decayed, rate, memory)


def heavy_ball(
    weights: Weights, gradients: Weights, rate: Any, memory: Weights, momentum: float = 0.9
) -> tuple[Weights, Weights]:
    """`v = momentum * v + gradient` in the gradient's place."""
    velocity: Weights = {name: momentum * memory[name] + g if memory else g for name, g in gradients.items()}
    return parts.plain_sgd(weights, velocity, rate, velocity)


def scaled_learning_rate(
    weights: Weights, gradients: Weights, rate: Any, memory: Weights, factor: float = 0.5
) -> tuple[Weights, Weights]:
    """`factor * rate` in the learning rate's place."""
    return parts.plain_sgd(weights, gradients, factor * np.asarray(rate), memory)


def stale_statistics(state: State, initial: State, update: int) -> State:
    """Every update starts from the statistics that were loaded."""
    del update
    stale = {name: array for name, array in initial.weights.items() if is_statistic(name)}
    return replace(state, weights=state.weights | stale)


def changing_decay(decay_of: Callable[[float, int], float], state: State, initial: State, update: int) -> State:
    """The decay depends on the number of the update."""
    return replace(state, spec=replace(state.spec, decay=decay_of(initial.spec.decay, update)))


FAULTS: Mapping[str, Fault] = {
    **TRAINING_FAULTS,
    "missing_bias": ("linear", missing_bias),
    "bfloat16_matmul": ("linear", partial(reduced_matmul, bits=BFLOAT16_BITS)),
    "tf32_matmul": ("linear", partial(reduced_matmul, bits=TF32_BITS)),
    "fast_variance": ("batch_moments", fast_variance),
    "population_leak": ("batch_moments", population_leak),
    "unbiased_normalizer": ("normalize", unbiased_normalizer),
    "epsilon_outside_sqrt": ("normalize", epsilon_outside_sqrt),
    "epsilon_twice_in_eval": ("normalize", epsilon_twice_in_eval),
    "scale_plus_one": ("normalize", scale_plus_one),
    "wrong_axis": ("normalize", wrong_axis),
    "detached_statistics": ("normalize", detached_statistics),
    "frozen_running_statistics": ("update_statistics", frozen_running_statistics),
    "double_update": ("update_statistics", double_update),
    "float32_statistics": ("update_statistics", float32_statistics),
    "unscaled_dropout": ("dropout", unscaled_dropout),
    "batch_of_one": ("check_batch", batch_of_one),
    "padded_batch": ("apply", padded_batch),
    "eval_uses_batch_statistics": ("apply", eval_uses_batch_statistics),
    "forgotten_eval": ("apply", forgotten_eval),
    "train_uses_running_statistics": ("apply", train_uses_running_statistics),
    "eval_updates_statistics": ("apply", eval_updates_statistics),
    "summed_loss": ("objective", summed_loss),
    "double_softmax": ("objective", double_softmax),
    "label_smoothing": ("objective", label_smoothing),
    "untrained_affine": ("optimizer", untrained_affine),
    "weight_decay": ("optimizer", weight_decay),
    "heavy_ball": ("optimizer", heavy_ball),
    "scaled_learning_rate": ("optimizer", scaled_learning_rate),
    "stale_statistics": ("carry", stale_statistics),
    "cumulative_average": ("carry", partial(changing_decay, cumulative_decay)),
    "debiased_statistics": ("carry", partial(changing_decay, debiased_decay)),
}
