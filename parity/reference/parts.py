"""The named parts of the reference, each with its derivative by hand.

A differentiable part returns its value and a pullback: from the loss's gradient with respect to that value, the
gradients with respect to the part's arguments. Vectors have shape (..., features), matrices (..., rows, features);
`...` are members.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Inputs
from parity.data import Masks
from parity.faults import AS_GIVEN, WeightImport, read_conventions
from parity.inputs import prepare_inputs
from parity.spec import ModelSpec, RunningVariance, check_training_batch
from parity.weights import Array, Weights


def row(vector: Array) -> Array:
    """Return a vector as one row, for broadcasting over a batch."""
    return vector[..., None, :]


def transpose(matrix: Array) -> Array:
    """Exchange the last two axes."""
    return np.swapaxes(matrix, -1, -2)


def linear(x: Array, kernel: Array, bias: Array) -> tuple[Array, Callable]:
    """Return `z = x @ kernel + bias`; the pullback gives dx, dkernel, dbias."""

    def pullback(dz: Array) -> tuple[Array, Array, Array]:
        return dz @ transpose(kernel), transpose(x) @ dz, dz.sum(axis=-2)

    return x @ kernel + row(bias), pullback


def exact(value: Array) -> Array:
    """Return a value as it is; a simulation of rounding moves it."""
    return value


def batch_moments(x: Array, rounded: Callable[[Array], Array] = exact) -> tuple[Array, Array, Callable]:
    """Return mean and biased variance over the batch, two-pass; the pullback of (dmean, dvar) gives dx.

    Args:
        x: shape (..., batch, features).
        rounded: what rounding makes of the mean. Variance and pullback are taken around that: beside a large mean its
            rounding error matters in both.
    """
    mean = rounded(x.mean(axis=-2))
    centered = x - row(mean)

    def pullback(dmean: Array, dvar: Array) -> Array:
        return (row(dmean) + 2 * row(dvar) * centered) / x.shape[-2]

    return mean, (centered**2).mean(axis=-2), pullback


def normalize(
    x: Array, mean: Array, var: Array, gamma: Array, beta: Array, eps: float, train: bool
) -> tuple[Array, Callable]:
    """Return `y = gamma (x - mean) / sqrt(var + eps) + beta`; the pullback gives dx, dmean, dvar, dgamma, dbeta."""
    return scale_and_shift(x, mean, 1 / np.sqrt(var + eps), lambda s: -(s**3) / 2, gamma, beta)


def scale_and_shift(
    x: Array, mean: Array, inverse_std: Array, derivative: Callable[[Array], Array], gamma: Array, beta: Array
) -> tuple[Array, Callable]:
    """Return `y = gamma (x - mean) inverse_std + beta`; `derivative(inverse_std)` is d inverse_std / d var."""
    h = (x - row(mean)) * row(inverse_std)

    def pullback(dy: Array) -> tuple[Array, Array, Array, Array, Array]:
        dh = dy * row(gamma)
        dx = dh * row(inverse_std)
        dvar = (dh * (x - row(mean))).sum(axis=-2) * derivative(inverse_std)
        return dx, -dx.sum(axis=-2), dvar, (dy * h).sum(axis=-2), dy.sum(axis=-2)

    return row(gamma) * h + row(beta), pullback


def update_statistics(
    running_mean: Array,
    running_var: Array,
    mean: Array,
    var: Array,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[Array, Array]:
    """Return `decay * running + (1 - decay) * batch` for the mean and the variance of a batch of `size`."""
    if running_variance is RunningVariance.UNBIASED:
        var = var * (size / max(size - 1, 1))
    return decay * running_mean + (1 - decay) * mean, decay * running_var + (1 - decay) * var


def dropout(x: Array, mask: NDArray[np.bool_], rate: float) -> tuple[Array, Callable]:
    """Return `mask * x / (1 - rate)`; the pullback gives dx."""

    def keep(array: Array) -> Array:
        return np.where(mask, array / (1 - rate), 0)

    return keep(x), keep


def relu(z: Array, active: NDArray[np.bool_]) -> tuple[Array, Callable]:
    """Return `z` where a unit is active, else 0; NaN stays NaN. The pullback gives dz, 0 where a unit is not active."""
    return np.where(active | np.isnan(z), z, 0), lambda da: np.where(active, da, 0)


def collect(gradients: Weights, held: Weights) -> tuple[Weights, Weights]:
    """Return the gradients that an update shows and takes: those of its own batch."""
    return gradients, held


def write_statistics(state: Any, computed: Weights, held: Weights) -> tuple[Weights, Weights]:
    """Return the running statistics that an update writes: those that it computed."""
    return computed, held


@dataclass(frozen=True)
class Forward:
    """A forward pass.

    Args:
        logits: shape (..., batch, output_dim).
        statistics: the running statistics after it, by neutral name.
        activations: of every hidden layer, by the names of `parity.weights.activation_names`.
        pullback: from the gradient of the logits, those of the weights by neutral name.
    """

    logits: Array
    statistics: Weights
    activations: Weights
    pullback: Callable[[Array], Weights]


Pass = Callable[[Array, bool, Masks | None], Forward]  # of inputs, the mode, and dropout's masks


def apply(forward: Pass, inputs: Array, train: bool, masks: Masks | None = None) -> Forward:
    """Run the forward pass in train or evaluation mode."""
    return forward(inputs, train, masks)


def log_softmax(logits: Array) -> Array:
    """Return `logits - ln(sum(exp(logits)))` over the classes."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(
    logits: Array, labels: NDArray[np.integer], rounded: Callable[[Array], Array] = exact
) -> tuple[Any, Array]:
    """Return the mean cross entropy in nats, and its gradient with respect to the logits.

    Args:
        logits: shape (..., batch, classes).
        labels: shape (batch,).
        rounded: what rounding makes of the probabilities. Where one is near 1, what is left of its gradient is that.
    """
    log_probabilities = log_softmax(logits)
    return loss_of_shares(rounded(np.exp(log_probabilities)), labels, log_probabilities)


def loss_of_shares(shares: Array, labels: NDArray[np.integer], logarithms: Array) -> tuple[Any, Array]:
    """Return the mean of minus the labels' logarithms, and `(share - target) / n`."""
    target = np.arange(shares.shape[-1]) == np.asarray(labels)[:, None]
    loss = -np.where(target, logarithms, 0).sum(axis=-1).mean(axis=-1)
    return loss, (shares - target) / len(labels)


def plain_sgd(weights: Weights, gradients: Weights, rate: Any, memory: Weights) -> tuple[Weights, Weights]:
    """Return `weight - rate * gradient` for every gradient, and the optimizer's memory, empty for plain SGD."""
    return {name: weights[name] - rate_of(rate, g) * g for name, g in gradients.items()}, memory


def rate_of(rate: Any, gradient: Array) -> Array:
    """Return the learning rate of each member, for broadcasting against a gradient."""
    rate = np.asarray(rate)
    return rate.reshape(rate.shape + (1,) * (gradient.ndim - rate.ndim))


def carry(state: Any, initial: Any, update: int) -> Any:
    """Return the state that the next update starts from: the one that the last update left."""
    return state


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the reference is assembled from. A fault replaces exactly one.

    Args:
        layers: the parts of those hidden layers that have others.
    """

    conventions: Callable[[ModelSpec], ModelSpec] = read_conventions
    inputs: Callable[..., Inputs] = prepare_inputs
    weight_import: WeightImport = AS_GIVEN
    check_batch: Callable[[int], None] = check_training_batch
    linear: Callable[..., tuple[Array, Callable]] = linear
    batch_moments: Callable[..., tuple[Array, Array, Callable]] = batch_moments
    normalize: Callable[..., tuple[Array, Callable]] = normalize
    update_statistics: Callable[..., tuple[Array, Array]] = update_statistics
    activation: Callable[[Array, NDArray[np.bool_]], tuple[Array, Callable]] = relu
    dropout: Callable[..., tuple[Array, Callable]] = dropout
    apply: Callable[..., Forward] = apply
    objective: Callable[..., tuple[Any, Array]] = cross_entropy
    collect: Callable[[Weights, Weights], tuple[Weights, Weights]] = collect
    write_statistics: Callable[[Any, Weights, Weights], tuple[Weights, Weights]] = write_statistics
    optimizer: Callable[..., tuple[Weights, Weights]] = plain_sgd
    shows_gradients_late: bool = False
    carry: Callable[[Any, Any, int], Any] = carry
    layers: Mapping[int, "Parts"] = field(default_factory=dict)


Pattern = Mapping[str, NDArray[np.bool_]]  # which units are active, by the name of ReLU's activation
