"""Faults of activation, objective, gradients, optimizer and the writing of statistics, in the reference.

Arrays may have axes of members before their own, so norms are taken over each tensor's own axes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.faults import Fault, WeightImport
from parity.reference import parts
from parity.reference.parts import Parts, rate_of
from parity.weights import Array, Weights

Part = Callable[..., Any]
Updated = tuple[Weights, Weights]  # the new weights, and the optimizer's memory


# Activation


def leaky_slope(honest: Part, z: Array, active: NDArray[np.bool_], slope: float = 0.01) -> tuple[Array, Callable]:
    """Return `slope * z` where a unit is not active."""
    return np.where(active, z, slope * z), lambda da: np.where(active, da, slope * da)


def clipped_activation(honest: Part, z: Array, active: NDArray[np.bool_], limit: float = 6.0) -> tuple[Array, Callable]:
    """Return no more than `limit` (ReLU6); the derivative beyond it is 0."""
    a, pull = honest(z, active)
    return np.minimum(a, limit), lambda da: np.where(z < limit, pull(da), 0)


def relu_at_zero(honest: Part, z: Array, active: NDArray[np.bool_], derivative: float = 0.5) -> tuple[Array, Callable]:
    """Take another derivative where `z` is exactly 0: 1/2 as a maximum has it, 1 as a clamp."""
    a, pull = honest(z, active)
    return a, lambda da: np.where(z == 0, derivative * da, pull(da))


# Objective


def naive_softmax(
    honest: Part, logits: Array, labels: NDArray[np.integer], rounded: Part = parts.exact
) -> tuple[Any, Array]:
    """Take exponentials of the logits as they are, which overflow; the loss is the logarithm of a share."""
    exponentials = np.exp(logits)
    shares = rounded(exponentials / exponentials.sum(axis=-1, keepdims=True))
    return parts.loss_of_shares(shares, labels, np.log(shares))


def clipped_log(
    honest: Part, logits: Array, labels: NDArray[np.integer], rounded: Part = parts.exact, least: float = 1e-7
) -> tuple[Any, Array]:
    """Take the logarithm of no share below `least`; there the gradient is 0."""
    shares = rounded(np.exp(parts.log_softmax(logits)))
    loss, gradient = parts.loss_of_shares(shares, labels, np.log(np.maximum(shares, least)))
    own = np.take_along_axis(shares, np.broadcast_to(labels, shares.shape[:-1])[..., None], axis=-1)
    return loss, np.where(own >= least, gradient, 0)


# Gradients


def accumulated_gradients(honest: Part, gradients: Weights, held: Weights) -> tuple[Weights, Weights]:
    """Add the gradients of all updates before: they were not set to zero."""
    total: Weights = {name: g + held.get(name, 0) for name, g in gradients.items()}
    return total, held | total


def untrained_parameter(
    honest: Part, gradients: Weights, held: Weights, parameter: str = "head.bias"
) -> tuple[Weights, Weights]:
    """Give one parameter no gradient."""
    return gradients | {parameter: 0 * gradients[parameter]}, held


def _tied(weights: Mapping[str, Any]) -> list[str]:
    """The hidden kernels that can be one: the square ones."""
    return [name for name, a in weights.items() if name.startswith("hidden.") and name.endswith(".kernel")
            and a.shape[-1] == a.shape[-2]]  # fmt: skip


def _load_tied(weights: Mapping[str, Any]) -> Weights:
    return dict(weights) | {name: weights[_tied(weights)[-1]] for name in _tied(weights)}


def _collect_tied(gradients: Weights, held: Weights) -> tuple[Weights, Weights]:
    tied = _tied(gradients)
    total: Array = np.sum([gradients[name] for name in tied], axis=0)
    return {name: total if name in tied else g for name, g in gradients.items()}, held


def tied_kernels(whole: Parts) -> Parts:
    """Make one kernel of all square hidden kernels: the last that is loaded, with the sum of their gradients."""
    return replace(whole, weight_import=WeightImport(load=_load_tied), collect=_collect_tied)


def gradients_after_update(whole: Parts) -> Parts:
    """Show the gradients at the updated weights; the update takes the right ones."""
    return replace(whole, shows_gradients_late=True)


# Optimizer


def _norm(gradients: Weights) -> Array:
    """The norm of all gradients together, of each member."""
    return np.sqrt(sum(np.square(g).sum(axis=_own_axes(name)) for name, g in gradients.items()))


def _own_axes(name: str) -> tuple[int, ...]:
    return (-2, -1) if name.endswith(".kernel") else (-1,)


def clipped_gradients(
    honest: Part,
    weights: Weights,
    gradients: Weights,
    rate: Any,
    memory: Weights,
    max_norm: float = 1.0,
    eps: float = 0.0,
) -> Updated:
    """Scale the gradients down to a global norm of at most `max_norm`; PyTorch adds 1e-6 to the norm."""
    factor = np.minimum(1.0, max_norm / (_norm(gradients) + eps))
    clipped: Weights = {name: rate_of(factor, g) * g for name, g in gradients.items()}
    return honest(weights, clipped, rate, memory)


def clipped_gradient_values(
    honest: Part, weights: Weights, gradients: Weights, rate: Any, memory: Weights, limit: float = 0.01
) -> Updated:
    """Clip every element of the gradients to `-limit .. limit`."""
    clipped: Weights = {name: np.clip(g, -limit, limit) for name, g in gradients.items()}
    return honest(weights, clipped, rate, memory)


def _count(memory: Weights) -> int:
    return int(memory.get("update", np.zeros(()))) + 1


def warmup(
    honest: Part, weights: Weights, gradients: Weights, rate: Any, memory: Weights, updates: float = 10.0
) -> Updated:
    """Let the learning rate rise linearly from `rate / updates` to `rate` over the first updates."""
    count = _count(memory)
    memory = memory | {"update": np.array(float(count))}
    return honest(weights, gradients, min(1.0, count / updates) * np.asarray(rate), memory)


def nesterov(
    honest: Part, weights: Weights, gradients: Weights, rate: Any, memory: Weights, momentum: float = 0.9
) -> Updated:
    """Take `v = momentum * v + gradient`, and `gradient + momentum * v` in the gradient's place."""
    velocity: Weights = {name: momentum * memory[name] + g if memory else g for name, g in gradients.items()}
    ahead: Weights = {name: g + momentum * velocity[name] for name, g in gradients.items()}
    return honest(weights, ahead, rate, velocity)


def weight_decay(
    honest: Part,
    weights: Weights,
    gradients: Weights,
    rate: Any,
    memory: Weights,
    coefficient: float = 1e-4,
    kernels_only: bool = False,
) -> Updated:
    """Add `coefficient * weight` to every gradient, or to every kernel's."""
    decayed: Weights = {
        name: gradient + coefficient * weights[name] if name.endswith(".kernel") or not kernels_only else gradient
        for name, gradient in gradients.items()
    }
    return honest(weights, decayed, rate, memory)


def heavy_ball(
    honest: Part, weights: Weights, gradients: Weights, rate: Any, memory: Weights, momentum: float = 0.9
) -> Updated:
    """Update by the velocity: `v = momentum * v + gradient; weight -= rate * v`."""
    velocity: Weights = {name: momentum * memory[name] + g if memory else g for name, g in gradients.items()}
    return honest(weights, velocity, rate, velocity)


def momentum_and_decay(
    honest: Part,
    weights: Weights,
    gradients: Weights,
    rate: Any,
    memory: Weights,
    momentum: float = 0.9,
    coefficient: float = 1e-4,
    kernels_only: bool = False,
) -> Updated:
    """Add `coefficient * weight` to every gradient (or every kernel's), and then take momentum."""
    ball = partial(heavy_ball, honest, momentum=momentum)
    return weight_decay(ball, weights, gradients, rate, memory, coefficient, kernels_only)


def adam(
    honest: Part,
    weights: Weights,
    gradients: Weights,
    rate: Any,
    memory: Weights,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Updated:
    """Take Adam's update in place of plain SGD's (Kingma and Ba, 2015)."""
    count = _count(memory)
    kept: Weights = {"update": np.array(float(count))}
    steps: Weights = {}
    for name, g in gradients.items():
        first = beta1 * memory.get(f"first {name}", 0 * g) + (1 - beta1) * g
        second = beta2 * memory.get(f"second {name}", 0 * g) + (1 - beta2) * g**2
        kept |= {f"first {name}": first, f"second {name}": second}
        steps[name] = first / (1 - beta1**count) / (np.sqrt(second / (1 - beta2**count)) + eps)
    return honest(weights, steps, rate, kept)


# Running statistics


def late_statistics(honest: Part, state: Any, computed: Weights, held: Weights) -> tuple[Weights, Weights]:
    """Take in each batch's statistics an update later; the first update leaves the running ones as they are."""
    decay, written = state.spec.decay, {}
    for name, new in computed.items():
        old = state.weights[name]
        taken = held.get(name)
        written[name] = old if taken is None else decay * old + (1 - decay) * taken
        held = held | {name: (new - decay * old) / (1 - decay)}
    return written, held


def statistics_of_output(honest: Part, state: Any, computed: Weights, held: Weights) -> tuple[Weights, Weights]:
    """Take in the mean and variance of the normalized input: 0, and `v / (v + eps)` for the batch's variance `v`."""
    decay, eps, written = state.spec.decay, state.spec.eps, {}
    for name, new in computed.items():
        old = state.weights[name]
        taken = (new - decay * old) / (1 - decay)
        own = taken / (taken + eps) if name.endswith("running_var") else 0 * taken
        written[name] = decay * old + (1 - decay) * own
    return written, held


def statistics_of_another_layer(
    honest: Part, state: Any, computed: Weights, held: Weights, target: int = 0, source: int = 1
) -> tuple[Weights, Weights]:
    """Let one hidden layer take in the statistics of another's batch."""
    decay, written = state.spec.decay, dict(computed)
    for leaf in ("running_mean", "running_var"):
        ours, theirs = (f"hidden.{i}.{leaf}" for i in (target, source))
        if ours in computed and theirs in computed:
            taken = computed[theirs] - decay * state.weights[theirs]
            written[ours] = decay * state.weights[ours] + taken
    return written, held


# The siblings can be given none of these; they are tried on other ports.
TRAINING_FAULTS: Mapping[str, Fault] = {
    "leaky_slope": ("activation", leaky_slope),
    "clipped_activation": ("activation", clipped_activation),
    "relu_at_zero": ("activation", relu_at_zero),
    "naive_softmax": ("objective", naive_softmax),
    "clipped_log": ("objective", clipped_log),
    "accumulated_gradients": ("collect", accumulated_gradients),
    "untrained_parameter": ("collect", untrained_parameter),
    "tied_kernels": ("parts", tied_kernels),
    "gradients_after_update": ("parts", gradients_after_update),
    "clipped_gradients": ("optimizer", clipped_gradients),
    "clipped_gradient_values": ("optimizer", clipped_gradient_values),
    "warmup": ("optimizer", warmup),
    "nesterov": ("optimizer", nesterov),
    "momentum_and_decay": ("optimizer", momentum_and_decay),
    "adam": ("optimizer", adam),
    "late_statistics": ("write_statistics", late_statistics),
    "statistics_of_output": ("write_statistics", statistics_of_output),
    "statistics_of_another_layer": ("write_statistics", statistics_of_another_layer),
}
