"""The parts that the network and its training are assembled from, in PyTorch.

Everything that a port can get wrong is one named field of `Parts`; a fault (`faults.py`) replaces exactly one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from parity.backend import Inputs
from parity.faults import WeightImport, read_conventions
from parity.inputs import prepare_inputs
from parity.spec import ModelSpec, RunningVariance, check_training_batch

# Updates parameters in place, given their gradients and what the optimizer keeps, all by parameter name.
Update = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], dict[str, Tensor]], None]


@contextmanager
def mode(net: nn.Module, train: bool) -> Iterator[None]:
    """Run a module in train or evaluation mode, then put it and all its parts back in the mode that each was in."""
    before = [(module, module.training) for module in net.modules()]
    net.train(train)
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


class _Call(nn.Module):
    def __init__(self, function: Callable[..., Tensor], net: nn.Module) -> None:
        super().__init__()
        self.function, self.net = function, net

    def forward(self, *arguments: Any) -> Tensor:
        return self.function(self.net, *arguments)


def call_with_state(
    function: Callable[..., Tensor], net: nn.Module, state: dict[str, Tensor], *arguments: Any
) -> Tensor:
    """`function(net, *arguments)` with other tensors in place of those parameters and buffers that `state` names."""
    return functional_call(_Call(function, net), {f"net.{name}": value for name, value in state.items()}, arguments)


def linear(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """`x @ kernel.T + bias`, for a kernel of shape (fan_out, fan_in), as Torch stores it."""
    return functional.linear(x, kernel, bias)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the first axis, two-pass: E[x^2] - E[x]^2 would cancel."""
    mean = x.mean(dim=0)
    return mean, torch.square(x - mean).mean(dim=0)


def normalize(x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool) -> Tensor:
    """`scale * (x - mean) / sqrt(var + eps) + bias`, whether training or not."""
    del train
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
    """The running statistics after a batch of `size` samples with mean `mean` and biased variance `var`::

    mean = decay * running_mean + (1 - decay) * mean
    var  = decay * running_var  + (1 - decay) * var * n / (n - 1)     "biased": without the factor
    """
    if running_variance == RunningVariance.UNBIASED:
        var = var * (size / max(size - 1, 1))  # one sample gets here only where no check refused it
    return (decay * running_mean).add(mean, alpha=1 - decay), (decay * running_var).add(var, alpha=1 - decay)


def dropout(x: Tensor, mask: Tensor, rate: float) -> Tensor:
    """`mask * x / (1 - rate)`, for a mask of the shape of `x`."""
    return torch.where(mask, x / (1 - rate), 0)


def apply(
    net: nn.Module,
    inputs: Tensor,
    train: bool,
    activations: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """The forward pass in train or evaluation mode.

    Args:
        net: a `MultiLayerPerceptron`; it keeps its mode, and training updates its running statistics.
        inputs: shape (batch, input_dim).
        train: whether to normalize by the batch's statistics and to update the running ones.
        activations: takes what each part of each hidden layer gives, by the names of
            `parity.weights.activation_names`.
        masks: of dropout, in training; None for none.

    Returns:
        Logits, shape (batch, output_dim).
    """
    with mode(net, train):
        return net(inputs, activations, masks)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy in nats of logits (batch, classes) and integer labels (batch,)."""
    return functional.cross_entropy(logits, labels)


def plain_sgd(rate: Tensor) -> Update:
    """`weight -= rate * gradient`, for a rate that is a scalar or has one for each member of a population."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        del state
        for name, parameter in parameters.items():
            rates = rate.reshape(rate.shape + (1,) * (parameter.dim() - rate.dim()))
            parameter.addcmul_(gradients[name], rates, value=-1)

    return update


def carry(net: Any, initial: Any, update: int) -> Any:
    """What is kept from one update to the next: everything.

    Args:
        net: the `MultiLayerPerceptron` after the last update; it may be changed.
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
    linear: Callable[[Tensor, Tensor, Tensor], Tensor] = linear
    batch_moments: Callable[[Tensor], tuple[Tensor, Tensor]] = batch_moments
    normalize: Callable[..., Tensor] = normalize
    update_statistics: Callable[..., tuple[Tensor, Tensor]] = update_statistics
    dropout: Callable[[Tensor, Tensor, float], Tensor] = dropout
    apply: Callable[..., Tensor] = apply
    objective: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    optimizer: Callable[[Tensor], Update] = plain_sgd
    carry: Callable[[Any, Any, int], Any] = carry


HONEST = Parts()
