"""The faults that are made in JAX: each stands in place of one of the parts, and says what it does otherwise."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bnjax import faulty_layers
from bnjax.parts import apply, cross_entropy, plain_sgd
from parity.faults import Fault, cumulative_decay, debiased_decay


def padded_batch(
    net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None, *, size: int = 32
) -> tuple[jax.Array, Any, dict]:
    """In training a batch is filled up with zero rows to a multiple of `size`; the statistics are theirs too."""
    n = len(inputs)
    if train:
        short = -n % int(size)
        inputs = jnp.pad(inputs, ((0, short), (0, 0)))
        masks = None if masks is None else jnp.pad(masks, ((0, 0), (0, short), (0, 0)), constant_values=True)
    logits, batch_stats, activations = apply(net, inputs, train, masks)
    return logits[:n], batch_stats, {name: value[:n] for name, value in activations.items()}


def eval_uses_batch_statistics(
    net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None
) -> tuple[jax.Array, Any, dict]:
    """Evaluation normalizes by the statistics of its batch."""
    logits, batch_stats, activations = apply(net, inputs, True, masks)
    return logits, batch_stats if train else net.batch_stats, activations


def train_uses_running_statistics(
    net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None
) -> tuple[jax.Array, Any, dict]:
    """Training runs in evaluation mode."""
    del train, masks
    return apply(net, inputs, False)


def eval_updates_statistics(
    net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None
) -> tuple[jax.Array, Any, dict]:
    """Evaluation updates the running statistics, for the next to use."""
    logits, batch_stats, activations = apply(net, inputs, train, masks)
    return logits, batch_stats if train else apply(net, inputs, True)[1], activations


def summed_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The sum over the batch."""
    return cross_entropy(logits, labels) * len(logits)


def double_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Probabilities are taken for logits."""
    return cross_entropy(jax.nn.softmax(logits), labels)


def label_smoothing(logits: jax.Array, labels: jax.Array, smoothing: float = 0.1) -> jax.Array:
    """`(1 - smoothing) * cross entropy + smoothing * mean over the classes of -log p`."""
    uniform = -jax.nn.log_softmax(logits).mean()
    return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * uniform


def untrained_affine(rate: jax.Array | float) -> optax.GradientTransformation:
    """The norms' scale and bias are not updated."""

    def of_norms(params: Any) -> Any:
        return {layer: layer.startswith("norm") for layer in params}

    return optax.chain(plain_sgd(rate), optax.masked(optax.set_to_zero(), of_norms))


def weight_decay(rate: jax.Array | float, coefficient: float = 1e-4) -> optax.GradientTransformation:
    """`coefficient * weight` is added to every gradient."""
    return optax.chain(optax.add_decayed_weights(coefficient), plain_sgd(rate))


def heavy_ball(rate: jax.Array | float, momentum: float = 0.9) -> optax.GradientTransformation:
    """`velocity = momentum * velocity + gradient; weight -= rate * velocity`."""
    return optax.sgd(rate, momentum)


def scaled_learning_rate(rate: jax.Array | float, factor: float = 0.5) -> optax.GradientTransformation:
    """The learning rate is `factor * rate`."""
    return plain_sgd(factor * rate)


def stale_statistics(net: Any, initial: Any, update: int) -> Any:
    """Every update but the first starts from the statistics that were loaded."""
    return net if update == 1 else replace(net, batch_stats=jax.tree.map(jnp.copy, initial.batch_stats))


def cumulative_average(net: Any, initial: Any, update: int) -> Any:
    """The running statistics are the plain average over all updates."""
    return replace(net, model=net.model.clone(decay=cumulative_decay(initial.model.decay, update)))


def debiased_statistics(net: Any, initial: Any, update: int) -> Any:
    """The running statistics are a zero-debiased moving average."""
    return replace(net, model=net.model.clone(decay=debiased_decay(initial.model.decay, update)))


FAULTS: dict[str, Fault] = {
    "missing_bias": ("linear", faulty_layers.missing_bias),
    "bfloat16_matmul": ("linear", faulty_layers.bfloat16_matmul),
    "tf32_matmul": ("linear", faulty_layers.tf32_matmul),
    "fast_variance": ("batch_moments", faulty_layers.fast_variance),
    "population_leak": ("batch_moments", faulty_layers.population_leak),
    "unbiased_normalizer": ("normalize", faulty_layers.unbiased_normalizer),
    "epsilon_outside_sqrt": ("normalize", faulty_layers.epsilon_outside_sqrt),
    "epsilon_twice_in_eval": ("normalize", faulty_layers.epsilon_twice_in_eval),
    "scale_plus_one": ("normalize", faulty_layers.scale_plus_one),
    "wrong_axis": ("normalize", faulty_layers.wrong_axis),
    "detached_statistics": ("normalize", faulty_layers.detached_statistics),
    "frozen_running_statistics": ("update_statistics", faulty_layers.frozen_running_statistics),
    "double_update": ("update_statistics", faulty_layers.double_update),
    "float32_statistics": ("update_statistics", faulty_layers.float32_statistics),
    "unscaled_dropout": ("dropout", faulty_layers.unscaled_dropout),
    "batch_of_one": ("check_batch", faulty_layers.batch_of_one),
    "padded_batch": ("apply", padded_batch),
    "eval_uses_batch_statistics": ("apply", eval_uses_batch_statistics),
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
    "cumulative_average": ("carry", cumulative_average),
    "debiased_statistics": ("carry", debiased_statistics),
}
