"""The lab's training functions, in Flax: the state goes in and comes out.

`net` is a `TrainState`. It changes in one place only, `sgd_step`; everything that evaluates takes it and cannot change
it.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Num, Shaped

from bnjax.model import MultiLayerPerceptron
from bnjax.state import TrainState, state_from_variables
from bnjax.weights import to_native
from parity.data import StandardizedData, check_masks, draw_masks, updates_per_pass
from parity.spec import DType
from parity.weights import draw_weights


class Logs(NamedTuple):
    """Evaluation-mode results: losses in nats, accuracies as shares."""

    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


class StepOutput(NamedTuple):
    """Results of one SGD step, before its update.

    Args:
        loss: mean cross entropy of the batch in train mode, in nats.
        logits: in train mode.
        gradients: of the loss, shaped as the parameters.
        activations: the output of each part of each hidden layer, by the names of `parity.weights.activation_names`.
    """

    loss: Float[jax.Array, ""]
    logits: Float[jax.Array, "batch output_dim"]
    gradients: Any
    activations: dict[str, Float[jax.Array, "batch hidden_width"]]


def create_train_state(model: MultiLayerPerceptron, seed: int = 0, dtype: DType = "float32") -> TrainState:
    """Return the network at the initial weights of a seed: the same numbers in every framework."""
    spec = model.spec
    if dtype == "bfloat16":
        model = model.clone(dtype=jnp.bfloat16)
    return state_from_variables(model, to_native(draw_weights(spec, seed), spec, dtype))


def compute_objective(
    net: TrainState, inputs: Num[ArrayLike, "n input_dim"], labels: Integer[ArrayLike, " n"], train: bool = False
) -> Float[jax.Array, ""]:
    """Return the mean cross entropy in nats; the state stays as it is.

    Args:
        net: the network.
        inputs: to classify.
        labels: of their classes.
        train: normalize by the statistics of `inputs` rather than by the running ones.
    """
    return net.model.parts.objective(_logits(net, _inputs(net, inputs), train), jnp.asarray(labels))


def compute_accuracy(
    net: TrainState, inputs: Num[ArrayLike, "n input_dim"], labels: Integer[ArrayLike, " n"]
) -> Float[jax.Array, ""]:
    """Return the share of `inputs` that evaluation mode classifies as `labels`; the state stays as it is."""
    return (_logits(net, _inputs(net, inputs), False).argmax(axis=-1) == jnp.asarray(labels)).mean()


def _inputs(net: TrainState, array: ArrayLike) -> jax.Array:
    """Return `array` in the weights' dtype: inputs of another dtype must not widen the state."""
    return jnp.asarray(array, net.params["head"]["kernel"].dtype)


def evaluate(net: TrainState, inputs: Float[jax.Array, "batch input_dim"]) -> Float[jax.Array, "batch output_dim"]:
    """Return the logits in evaluation mode. A pure function, not jitted."""
    return net.model.parts.apply(net, inputs, False).logits


@partial(jax.jit, static_argnames="train")
def _logits(net: TrainState, inputs: jax.Array, train: bool) -> jax.Array:
    return net.model.parts.apply(net, inputs, train).logits


def compute_logs(net: TrainState, data: StandardizedData, verbose: bool = False) -> Logs:
    """Return loss and accuracy on the training and test sets, in evaluation mode."""
    logs = Logs(
        float(compute_objective(net, data.train_inputs, data.train_labels)),
        float(compute_accuracy(net, data.train_inputs, data.train_labels)),
        float(compute_objective(net, data.test_inputs, data.test_labels)),
        float(compute_accuracy(net, data.test_inputs, data.test_labels)),
    )
    if verbose:
        print("  ".join(f"{name} {value:.4f}" for name, value in logs._asdict().items()))
    return logs


def sgd_step(
    net: TrainState,
    inputs: Float[jax.Array, "batch input_dim"],
    labels: Integer[jax.Array, " batch"],
    learning_rate: ArrayLike,
    masks: Shaped[jax.Array, "num_hidden_layers batch hidden_width"] | None = None,
) -> tuple[TrainState, StepOutput]:
    """Take one SGD update in train mode: `weight - learning_rate * gradient`, and the new running statistics.

    The formulas are the model's parts. A pure function, not jitted: `train_step` compiles it, `population` maps it over
    many members.

    Args:
        net: the network.
        inputs: of a minibatch.
        labels: of their classes.
        learning_rate: a scalar.
        masks: of dropout, if the network has it.

    Raises:
        InputError: batch norm is given fewer than two samples, or dropout no masks that fit.
    """
    check_masks(net.model.spec, masks, (len(inputs),))
    parts = net.model.parts

    def loss_of(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any, dict[str, jax.Array]]]:
        output = parts.apply(replace(net, params=params), inputs, True, masks)
        return parts.objective(output.logits, labels), (output.logits, output.statistics, output.activations)

    (loss, (logits, batch_stats, activations)), gradients = jax.value_and_grad(loss_of, has_aux=True)(net.params)
    # The learning rate takes the weights' dtype: under x64 a float64 rate would turn float32 weights into float64.
    rate = jnp.asarray(learning_rate, loss.dtype)
    updates, opt_state = parts.optimizer(rate).update(gradients, net.opt_state, net.params)
    params = optax.apply_updates(net.params, updates)
    net = replace(net, params=params, batch_stats=batch_stats, opt_state=opt_state)
    return net, StepOutput(loss, logits, gradients, activations)


@partial(jax.jit, donate_argnames="net")
def train_step(
    net: TrainState,
    inputs: Num[ArrayLike, "batch input_dim"],
    labels: Integer[ArrayLike, " batch"],
    learning_rate: ArrayLike,
    masks: Shaped[ArrayLike, "num_hidden_layers batch hidden_width"] | None = None,
) -> tuple[TrainState, dict[str, Float[jax.Array, ""]]]:
    """Take one `sgd_step` as one compiled program; the old state's memory is donated to the new.

    Returns:
        The new state, and the batch's `loss` and `accuracy` in train mode, before the update.
    """
    labels = jnp.asarray(labels)
    kept = None if masks is None else jnp.asarray(masks)
    net, output = sgd_step(net, _inputs(net, inputs), labels, learning_rate, kept)
    return net, {"loss": output.loss, "accuracy": (output.logits.argmax(axis=-1) == labels).mean()}


def minibatch_sgd_one_pass(
    net: TrainState,
    inputs: Num[ArrayLike, "n input_dim"],
    labels: Integer[ArrayLike, " n"],
    learning_rate: float,
    batch_size: int,
    verbose: bool = False,
    rng: np.random.Generator | None = None,
) -> TrainState:
    """Run one pass of minibatch SGD: `round(n / batch_size)` updates on samples drawn with replacement.

    Args:
        net: the network. It stays as it was; go on with the returned one.
        inputs: of the training set.
        labels: of their classes.
        learning_rate: of plain SGD.
        batch_size: samples in a minibatch.
        verbose: print the moving average of the loss, `0.99 * average + 0.01 * loss`, every 100 updates.
        rng: draws the samples of each minibatch, then its dropout masks; None for a new random one in each call.

    Returns:
        The trained network.
    """
    rng = rng or np.random.default_rng()
    net = jax.tree.map(jnp.copy, net)  # `train_step` donates the memory of its state
    inputs, labels = jnp.asarray(inputs), jnp.asarray(labels)
    spec, average = net.model.spec, None
    for update in range(1, updates_per_pass(len(inputs), batch_size) + 1):
        batch = rng.integers(len(inputs), size=batch_size)
        masks = draw_masks(spec, batch_size, rng) if spec.dropout_rate else None
        net, metrics = train_step(net, inputs[batch], labels[batch], learning_rate, masks)
        if verbose:
            loss = float(metrics["loss"])
            average = loss if average is None else 0.99 * average + 0.01 * loss
            if update % 100 == 0:
                print(f"update {update}: average loss {average:.4f}")
    return net
