"""The parts that the network and its training are assembled from, in JAX.

Everything that a port can get wrong is one named field of `Parts`; a fault (`faults.py`) replaces exactly one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from parity.backend import Inputs
from parity.faults import WeightImport, read_conventions
from parity.inputs import prepare_inputs
from parity.spec import ModelSpec, RunningVariance, check_training_batch

MEMBERS = "members"  # the axis over which a population is mapped


def linear(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Return `x @ kernel + bias`, for a kernel of shape (fan_in, fan_out)."""
    return x @ kernel + bias


def batch_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return mean and biased variance over the first axis, two-pass: E[x^2] - E[x]^2 would cancel.

    The derivative of the variance by the mean is zero in exact arithmetic. Keep it: with a large mean, the mean's
    rounding error matters in the gradient.
    """
    mean = x.mean(axis=0)
    return mean, jnp.square(x - mean).mean(axis=0)


def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """Return `scale * (x - mean) / sqrt(var + eps) + bias`, in training and in evaluation."""
    return scale * (x - mean) * jax.lax.rsqrt(var + eps) + bias


def update_statistics(
    running_mean: jax.Array,
    running_var: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[jax.Array, jax.Array]:
    """Return the running statistics after a batch.

    It has `size` samples, of mean `mean` and biased variance `var`::

        mean = decay * running_mean + (1 - decay) * mean
        var  = decay * running_var  + (1 - decay) * var * n / (n - 1)     "biased": without the factor
    """
    if running_variance == RunningVariance.UNBIASED:
        var = var * (size / max(size - 1, 1))  # a single sample gets here only if no check refuses it
    return decay * running_mean + (1 - decay) * mean, decay * running_var + (1 - decay) * var


def dropout(x: jax.Array, mask: jax.Array, rate: float) -> jax.Array:
    """Return `mask * x / (1 - rate)`, for a mask of the shape of `x`."""
    return jnp.where(mask, x / (1 - rate), 0)


@dataclass(frozen=True)
class Forward:
    """What a forward pass gave.

    Args:
        logits: shape (batch, output_dim).
        statistics: the running statistics after the pass.
        activations: the output of each part of each hidden layer, by the names of `parity.weights.activation_names`.
    """

    logits: jax.Array
    statistics: Any
    activations: dict[str, jax.Array]


def apply(net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None) -> Forward:
    """Run the forward pass in train or evaluation mode.

    Args:
        net: a `TrainState`; it stays as it is.
        inputs: shape (batch, input_dim).
        train: whether to normalize by the batch's statistics and to update the running ones.
        masks: of dropout, in training; None for none.
    """
    mutable, method = ["batch_stats"] if train else [], net.model.with_activations
    output, changed = net.model.apply(net.variables, inputs, train, masks, method=method, mutable=mutable)
    return Forward(output[0], changed.get("batch_stats", net.batch_stats), output[1])


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross entropy in nats of logits (batch, classes) and integer labels (batch,)."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def plain_sgd(rate: jax.Array | float) -> optax.GradientTransformation:
    """Return the optimizer `weight -= rate * gradient`."""
    return optax.sgd(rate)


def carry(net: Any, initial: Any, update: int) -> Any:
    """Return the state that the next update starts from: the one that the last update left.

    Args:
        net: the `TrainState` after the last update; its memory may be donated.
        initial: a copy of the state as it was loaded. It must not change.
        update: the number of the next update, from 1.
    """
    return net


@dataclass(frozen=True)
class Parts:
    """The parts of a network and its training; the docstring of each default says what the part must do."""

    conventions: Callable[[ModelSpec], ModelSpec] = read_conventions
    inputs: Callable[..., Inputs] = prepare_inputs
    weight_import: WeightImport = field(default_factory=WeightImport)
    check_batch: Callable[[int], None] = check_training_batch
    linear: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = linear
    batch_moments: Callable[[jax.Array], tuple[jax.Array, jax.Array]] = batch_moments
    normalize: Callable[..., jax.Array] = normalize
    update_statistics: Callable[..., tuple[jax.Array, jax.Array]] = update_statistics
    dropout: Callable[[jax.Array, jax.Array, float], jax.Array] = dropout
    apply: Callable[..., Forward] = apply
    objective: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy
    optimizer: Callable[[jax.Array | float], optax.GradientTransformation] = plain_sgd
    carry: Callable[[Any, Any, int], Any] = carry


HONEST = Parts()
