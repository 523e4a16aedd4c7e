"""The lab's training functions, in PyTorch: the module is the state, and keeps the mode that it was in.

`net` is a `MultiLayerPerceptron`. Its weights and statistics change in one place only, `sgd_step`; everything that
evaluates leaves it as it was.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer, Num, Shaped
from numpy.typing import NDArray
from torch import Tensor

from bntorch.linear import Linear
from bntorch.model import MultiLayerPerceptron
from bntorch.module_state import call_with_state
from bntorch.weights import to_native, weights_dtype
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
        gradients: of the loss, by parameter name.
        activations: the output of each part of each hidden layer, by the names of `parity.weights.activation_names`.
    """

    loss: Float[Tensor, ""]
    logits: Float[Tensor, "batch output_dim"]
    gradients: dict[str, Tensor]
    activations: dict[str, Float[Tensor, "batch hidden_width"]]


def create_train_state(model: MultiLayerPerceptron, seed: int = 0, dtype: DType = "float32") -> MultiLayerPerceptron:
    """Return a copy of the network at the initial weights of a seed: the same numbers in every framework."""
    net = copy.deepcopy(model).to(getattr(torch, weights_dtype(dtype)))
    net.opt_state = {}
    for module in net.modules():
        if dtype == "bfloat16" and isinstance(module, Linear):
            module.dtype = torch.bfloat16
    net.load_state_dict(to_native(draw_weights(net.spec, seed), net.spec, dtype))
    return net


def compute_objective(
    net: MultiLayerPerceptron,
    inputs: Num[Tensor | NDArray, "n input_dim"],
    labels: Integer[Tensor | NDArray, " n"],
    train: bool = False,
) -> Float[Tensor, ""]:
    """Return the mean cross entropy in nats; the state stays as it is.

    Args:
        net: the network.
        inputs: to classify.
        labels: of their classes.
        train: normalize by the statistics of `inputs` rather than by the running ones.
    """
    return net.parts.objective(_logits(net, _inputs(net, inputs), train), _labels(net, labels))


@torch.no_grad()
def compute_accuracy(
    net: MultiLayerPerceptron, inputs: Num[Tensor | NDArray, "n input_dim"], labels: Integer[Tensor | NDArray, " n"]
) -> Float[Tensor, ""]:
    """Return the share of `inputs` that evaluation mode classifies as `labels`; the state stays as it is."""
    return (_logits(net, _inputs(net, inputs), False).argmax(dim=-1) == _labels(net, labels)).float().mean()


def _tensor(array: Tensor | NDArray) -> Tensor:
    return array if isinstance(array, Tensor) else torch.tensor(array)


def _inputs(net: MultiLayerPerceptron, array: Tensor | NDArray) -> Tensor:
    """Return `array` in the weights' dtype and on their device: inputs of another dtype must not widen the state."""
    return _tensor(array).to(net.head.weight)


def _labels(net: MultiLayerPerceptron, array: Tensor | NDArray) -> Tensor:
    return _tensor(array).to(net.head.weight.device, torch.int64)


def evaluate(net: MultiLayerPerceptron, inputs: Float[Tensor, "batch input_dim"]) -> Float[Tensor, "batch output_dim"]:
    """Return the logits in evaluation mode."""
    return net.parts.apply(net, inputs, False).logits


def _logits(net: MultiLayerPerceptron, inputs: Tensor, train: bool) -> Tensor:
    # Train mode updates these copies, so the module's own buffers stay as they are.
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    return call_with_state(net.parts.apply, net, buffers, inputs, train).logits


@torch.no_grad()
def compute_logs(net: MultiLayerPerceptron, data: StandardizedData, verbose: bool = False) -> Logs:
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
    net: MultiLayerPerceptron,
    inputs: Float[Tensor, "batch input_dim"],
    labels: Integer[Tensor, " batch"],
    learning_rate: float,
    masks: Shaped[Tensor, "num_hidden_layers batch hidden_width"] | None = None,
) -> tuple[MultiLayerPerceptron, StepOutput]:
    """Take one SGD update in train mode: `weight - learning_rate * gradient`, and the new running statistics.

    The formulas are the module's parts.

    Args:
        net: the network; it is trained in place.
        inputs: of a minibatch.
        labels: of their classes.
        learning_rate: a scalar.
        masks: of dropout, if the network has it.

    Raises:
        InputError: batch norm is given fewer than two samples, or dropout no masks that fit.
    """
    check_masks(net.spec, masks, (len(inputs),))
    parameters = dict(net.named_parameters())
    with torch.enable_grad():
        output = net.parts.apply(net, inputs, True, masks)
        loss = net.parts.objective(output.logits, labels)
    values = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    gradients = dict(zip(parameters, values, strict=True))
    # A tensor of the weights' dtype: a Python float beyond float32's range would be refused rather than infinite.
    rate = torch.tensor(learning_rate, dtype=loss.dtype, device=loss.device)
    with torch.no_grad():
        net.parts.optimizer(rate)(parameters, gradients, net.opt_state)
    shown = {name: value.detach() for name, value in output.activations.items()}
    return net, StepOutput(loss.detach(), output.logits.detach(), gradients, shown)


def train_step(
    net: MultiLayerPerceptron,
    inputs: Num[Tensor | NDArray, "batch input_dim"],
    labels: Integer[Tensor | NDArray, " batch"],
    learning_rate: float,
    masks: Shaped[Tensor | NDArray, "num_hidden_layers batch hidden_width"] | None = None,
) -> tuple[MultiLayerPerceptron, dict[str, Float[Tensor, ""]]]:
    """`sgd_step` on tensors or arrays.

    Returns:
        The same module, and the batch's `loss` and `accuracy` in train mode, before the update.
    """
    labels = _labels(net, labels)
    kept = None if masks is None else _tensor(masks).to(net.head.weight.device)
    net, output = sgd_step(net, _inputs(net, inputs), labels, learning_rate, kept)
    return net, {"loss": output.loss, "accuracy": (output.logits.argmax(dim=-1) == labels).float().mean()}


def minibatch_sgd_one_pass(
    net: MultiLayerPerceptron,
    inputs: Num[Tensor | NDArray, "n input_dim"],
    labels: Integer[Tensor | NDArray, " n"],
    learning_rate: float,
    batch_size: int,
    verbose: bool = False,
    rng: np.random.Generator | None = None,
) -> MultiLayerPerceptron:
    """Run one pass of minibatch SGD: `round(n / batch_size)` updates on samples drawn with replacement.

    Args:
        net: the network; it is trained in place.
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
    inputs, labels = _tensor(inputs), _tensor(labels)
    average = None
    for update in range(1, updates_per_pass(len(inputs), batch_size) + 1):
        batch = torch.from_numpy(rng.integers(len(inputs), size=batch_size))
        masks = draw_masks(net.spec, batch_size, rng) if net.spec.dropout_rate else None
        net, metrics = train_step(net, inputs[batch], labels[batch], learning_rate, masks)
        if verbose:
            loss = float(metrics["loss"])
            average = loss if average is None else 0.99 * average + 0.01 * loss
            if update % 100 == 0:
                print(f"update {update}: average loss {average:.4f}")
    return net
