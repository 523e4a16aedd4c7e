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
    """`x @ kernel + bias`, for a kernel of shape (fan_in, fan_out)."""
    return x @ kernel + bias


def batch_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over the first axis, two-pass: E[x^2] - E[x]^2 would cancel.

    The variance's derivative by the mean, the sum of all deviations, is zero but for the rounding of the mean. It is
    taken: beside a large mean that rounding is what the gradients of a channel would otherwise not add up by.
    """
    mean = x.mean(axis=0)
    return mean, jnp.square(x - mean).mean(axis=0)


def normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    """`scale * (x - mean) / sqrt(var + eps) + bias`, whether training or not.

    It is written for its gradient, of which every sum over the batch is a pass over memory. Scale and root make one
    factor for each feature. The mean is held where it meets the batch, and its derivative taken in a term that is zero
    for each feature: so the gradients of `bias` and `mean` are one sum.
    """
    del train
    held = jax.lax.stop_gradient(mean)
    factor = scale * jax.lax.rsqrt(var + eps)
    return (x - held) * factor + (bias - (mean - held) * factor)


def update_statistics(
    running_mean: jax.Array,
    running_var: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[jax.Array, jax.Array]:
    """The running statistics after a batch of `size` samples with mean `mean` and biased variance `var`::

    mean = decay * running_mean + (1 - decay) * mean
    var  = decay * running_var  + (1 - decay) * var * n / (n - 1)     "biased": without the factor
    """
    if running_variance == RunningVariance.UNBIASED:
        var = var * (size / max(size - 1, 1))  # one sample gets here only where no check refused it
    return decay * running_mean + (1 - decay) * mean, decay * running_var + (1 - decay) * var


def dropout(x: jax.Array, mask: jax.Array, rate: float) -> jax.Array:
    """`mask * x / (1 - rate)`, for a mask of the shape of `x`."""
    return jnp.where(mask, x / (1 - rate), 0)


def apply(
    net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    """The forward pass in train or evaluation mode.

    Args:
        net: a `TrainState`; it stays as it is.
        inputs: shape (batch, input_dim).
        train: whether to normalize by the batch's statistics and to update the running ones.
        masks: of dropout, in training; None for none.

    Returns:
        Logits, shape (batch, output_dim); the running statistics after the pass; and what each part of each hidden
        layer gave, by the names of `parity.weights.activation_names`.
    """
    mutable = ["batch_stats", "intermediates"] if train else ["intermediates"]
    logits, changed = net.model.apply(net.variables, inputs, train, masks, mutable=mutable)
    return logits, changed.get("batch_stats", net.batch_stats), dict(changed["intermediates"])


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy in nats of logits (batch, classes) and integer labels (batch,)."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def plain_sgd(rate: jax.Array | float) -> optax.GradientTransformation:
    """`weight -= rate * gradient`."""
    return optax.sgd(rate)


def carry(net: Any, initial: Any, update: int) -> Any:
    """What is kept from one update to the next: everything.

    Args:
        net: the `TrainState` after the last update; its memory may be given up.
        initial: a copy of it as it was loaded, which must stay as it is.
        update: the number of the update to come, from 1.
    """
    del initial, update
    return net


@dataclass(frozen=True)
class Parts:
    """What a network and its training are made of; the fields' own functions say what each must do."""

    conventions: Callable[[ModelSpec], ModelSpec] = read_conventions
    inputs: Callable[..., Inputs] = prepare_inputs
    weight_import: WeightImport = field(default_factory=WeightImport)
    check_batch: Callable[[int], None] = check_training_batch
    linear: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = linear
    batch_moments: Callable[[jax.Array], tuple[jax.Array, jax.Array]] = batch_moments
    normalize: Callable[..., jax.Array] = normalize
    update_statistics: Callable[..., tuple[jax.Array, jax.Array]] = update_statistics
    dropout: Callable[[jax.Array, jax.Array, float], jax.Array] = dropout
    apply: Callable[..., tuple[jax.Array, Any, dict[str, jax.Array]]] = apply
    objective: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy
    optimizer: Callable[[jax.Array | float], optax.GradientTransformation] = plain_sgd
    carry: Callable[[Any, Any, int], Any] = carry


HONEST = Parts()
