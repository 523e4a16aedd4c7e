"""The parts that the network and its training are assembled from, in PyTorch.

Everything that a port can get wrong is one named field of `Parts`; a fault (`faults.py`) replaces exactly one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bntorch.module_state import mode
from parity.backend import Inputs
from parity.faults import WeightImport, read_conventions
from parity.inputs import prepare_inputs
from parity.spec import ModelSpec, RunningVariance, check_training_batch

# Updates parameters in place, given their gradients and the optimizer's memory, all by parameter name.
Update = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], dict[str, Tensor]], None]


def linear(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Return `x @ kernel.T + bias`, for a kernel of shape (fan_out, fan_in), as Torch stores it."""
    return functional.linear(x, kernel, bias)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over the first axis, two-pass: E[x^2] - E[x]^2 would cancel."""
    mean = x.mean(dim=0)
    return mean, torch.square(x - mean).mean(dim=0)


def normalize(x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool) -> Tensor:
    """Return `scale * (x - mean) / sqrt(var + eps) + bias`, in training and in evaluation."""
    return scale * (x - mean) * torch.rsqrt(var + eps) + bias


def update_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[Tensor, Tensor]:
    """Return the running statistics after a batch.

    It has `size` samples, of mean `mean` and biased variance `var`::

        mean = decay * running_mean + (1 - decay) * mean
        var  = decay * running_var  + (1 - decay) * var * n / (n - 1)     "biased": without the factor
    """
    if running_variance == RunningVariance.UNBIASED:
        var = var * (size / max(size - 1, 1))  # a single sample gets here only if no check refuses it
    return (decay * running_mean).add(mean, alpha=1 - decay), (decay * running_var).add(var, alpha=1 - decay)


def dropout(x: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Return `mask * x / (1 - rate)`, for a mask of the shape of `x`."""
    return torch.where(mask, x / (1 - rate), 0)


@dataclass(frozen=True)
class Forward:
    """What a forward pass gave.

    Args:
        logits: shape (batch, output_dim).
        statistics: the module, whose buffers are the running statistics after the pass.
        activations: the output of each part of each hidden layer, by the names of `parity.weights.activation_names`.
    """

    logits: Tensor
    statistics: nn.Module
    activations: dict[str, Tensor]


def apply(net: Any, inputs: Tensor, train: bool, masks: Tensor | None = None) -> Forward:
    """Run the forward pass in train or evaluation mode.

    Args:
        net: a `MultiLayerPerceptron`; it keeps its mode, and training updates its running statistics.
        inputs: shape (batch, input_dim).
        train: whether to normalize by the batch's statistics and to update the running ones.
        masks: of dropout, in training; None for none.
    """
    with mode(net, train):
        logits, activations = net.with_activations(inputs, masks)
    return Forward(logits, net, activations)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of logits (batch, classes) and integer labels (batch,)."""
    return functional.cross_entropy(logits, labels)


def plain_sgd(rate: Tensor) -> Update:
    """Return the update `weight -= rate * gradient`; the rate is a scalar or one for each member of a population."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        for name, parameter in parameters.items():
            rates = rate.reshape(rate.shape + (1,) * (parameter.dim() - rate.dim()))
            parameter.addcmul_(gradients[name], rates, value=-1)

    return update


def carry(net: Any, initial: Any, update: int) -> Any:
    """Return the state that the next update starts from: the one that the last update left.

    Args:
        net: the `MultiLayerPerceptron` after the last update; it may be changed.
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
    linear: Callable[[Tensor, Tensor, Tensor], Tensor] = linear
    batch_moments: Callable[[Tensor], tuple[Tensor, Tensor]] = batch_moments
    normalize: Callable[..., Tensor] = normalize
    update_statistics: Callable[..., tuple[Tensor, Tensor]] = update_statistics
    dropout: Callable[[Tensor, Tensor, float], Tensor] = dropout
    apply: Callable[..., Forward] = apply
    objective: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    optimizer: Callable[[Tensor], Update] = plain_sgd
    carry: Callable[[Any, Any, int], Any] = carry


HONEST = Parts()
