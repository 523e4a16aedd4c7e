"""The faults that need JAX. Each is a function of the honest part and its arguments."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bnjax import faulty_layers
from bnjax.parts import Forward
from parity.faults import Fault, cumulative_decay, debiased_decay

Apply = Callable[..., Forward]
Objective = Callable[[jax.Array, jax.Array], jax.Array]
Optimizer = Callable[[Any], optax.GradientTransformation]
Carry = Callable[[Any, Any, int], Any]


def padded_batch(
    honest: Apply, net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None, *, size: int = 32
) -> Forward:
    """In training, fill the batch up with zero rows to a multiple of `size`; they enter the statistics."""
    n = len(inputs)
    if train:
        short = -n % int(size)
        inputs = jnp.pad(inputs, ((0, short), (0, 0)))
        masks = None if masks is None else jnp.pad(masks, ((0, 0), (0, short), (0, 0)), constant_values=True)
    output = honest(net, inputs, train, masks)
    shown = {name: value[:n] for name, value in output.activations.items()}
    return replace(output, logits=output.logits[:n], activations=shown)


def eval_uses_batch_statistics(
    honest: Apply, net: Any, inputs: jax.Array, train: bool, masks: jax.Array | None = None
) -> Forward:
    """In evaluation, normalize by the batch's statistics."""
    output = honest(net, inputs, True, masks)
    return output if train else replace(output, statistics=net.batch_stats)


def double_softmax(honest: Objective, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Take probabilities for logits."""
    return honest(jax.nn.softmax(logits), labels)


def label_smoothing(honest: Objective, logits: jax.Array, labels: jax.Array, smoothing: float = 0.1) -> jax.Array:
    """Return `(1 - smoothing) * loss + smoothing * mean over the classes of -log p`."""
    uniform = -jax.nn.log_softmax(logits).mean()
    return (1 - smoothing) * honest(logits, labels) + smoothing * uniform


def untrained_affine(honest: Optimizer, rate: jax.Array | float) -> optax.GradientTransformation:
    """Do not update the norms' scale and bias."""

    def of_norms(params: Any) -> Any:
        return {layer: layer.startswith("norm") for layer in params}

    return optax.chain(honest(rate), optax.masked(optax.set_to_zero(), of_norms))


def weight_decay(honest: Optimizer, rate: jax.Array | float, coefficient: float = 1e-4) -> optax.GradientTransformation:
    """Add `coefficient * weight` to every gradient."""
    return optax.chain(optax.add_decayed_weights(coefficient), honest(rate))


def heavy_ball(honest: Optimizer, rate: jax.Array | float, momentum: float = 0.9) -> optax.GradientTransformation:
    """Update by the velocity: `velocity = momentum * velocity + gradient; weight -= rate * velocity`."""
    return optax.chain(optax.trace(momentum), honest(rate))


def scaled_learning_rate(
    honest: Optimizer, rate: jax.Array | float, factor: float = 0.5
) -> optax.GradientTransformation:
    """Use the learning rate `factor * rate`."""
    return honest(factor * rate)


def stale_statistics(honest: Carry, net: Any, initial: Any, update: int) -> Any:
    """Start every update but the first from the statistics that were loaded."""
    net = honest(net, initial, update)
    return net if update == 1 else replace(net, batch_stats=jax.tree.map(jnp.copy, initial.batch_stats))


def cumulative_average(honest: Carry, net: Any, initial: Any, update: int) -> Any:
    """Make the running statistics the plain average over all updates."""
    net = honest(net, initial, update)
    return replace(net, model=net.model.clone(decay=cumulative_decay(initial.model.decay, update)))


def debiased_statistics(honest: Carry, net: Any, initial: Any, update: int) -> Any:
    """Make the running statistics a zero-debiased moving average."""
    net = honest(net, initial, update)
    return replace(net, model=net.model.clone(decay=debiased_decay(initial.model.decay, update)))


FAULTS: dict[str, Fault] = {
    "bfloat16_matmul": ("linear", faulty_layers.bfloat16_matmul),
    "tf32_matmul": ("linear", faulty_layers.tf32_matmul),
    "fast_variance": ("batch_moments", faulty_layers.fast_variance),
    "population_leak": ("batch_moments", faulty_layers.population_leak),
    "epsilon_outside_sqrt": ("normalize", faulty_layers.epsilon_outside_sqrt),
    "wrong_axis": ("normalize", faulty_layers.wrong_axis),
    "detached_statistics": ("normalize", faulty_layers.detached_statistics),
    "float32_statistics": ("update_statistics", faulty_layers.float32_statistics),
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
