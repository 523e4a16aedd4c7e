"""The faults that are made in PyTorch: each stands in place of one of the parts, and says what it does otherwise."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bntorch import faulty_layers
from bntorch.norm import BatchNorm
from bntorch.parts import Update, apply, call_with_state, cross_entropy, plain_sgd
from parity.faults import Fault, cumulative_decay, debiased_decay


def padded_batch(
    net: nn.Module,
    inputs: Tensor,
    train: bool,
    activations: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
    *,
    size: int = 32,
) -> Tensor:
    """In training a batch is filled up with zero rows to a multiple of `size`; the statistics are theirs too."""
    n = len(inputs)
    if train:
        short = -n % int(size)
        inputs = functional.pad(inputs, (0, 0, 0, short))
        masks = None if masks is None else functional.pad(masks, (0, 0, 0, short), value=True)
    logits = apply(net, inputs, train, activations, masks)
    if activations is not None:
        activations |= {name: value[:n] for name, value in activations.items()}
    return logits[:n]


def eval_uses_batch_statistics(
    net: nn.Module,
    inputs: Tensor,
    train: bool,
    activations: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Evaluation normalizes by the statistics of its batch."""
    buffers = {} if train else {name: buffer.clone() for name, buffer in net.named_buffers()}
    return call_with_state(apply, net, buffers, inputs, True, activations, masks)


def train_uses_running_statistics(
    net: nn.Module,
    inputs: Tensor,
    train: bool,
    activations: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Training runs in evaluation mode."""
    del train, masks
    return apply(net, inputs, False, activations)


def eval_updates_statistics(
    net: nn.Module,
    inputs: Tensor,
    train: bool,
    activations: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Evaluation updates the running statistics, for the next to use."""
    logits = apply(net, inputs, train, activations, masks)
    if not train:
        apply(net, inputs, True)
    return logits


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the batch."""
    return cross_entropy(logits, labels) * len(logits)


def double_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Probabilities are taken for logits."""
    return cross_entropy(logits.softmax(dim=-1), labels)


def label_smoothing(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """`(1 - smoothing) * cross entropy + smoothing * mean over the classes of -log p`."""
    uniform = -logits.log_softmax(dim=-1).mean()
    return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * uniform


def untrained_affine(rate: Tensor) -> Update:
    """The norms' scale and bias are not updated."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        trained = {name: parameter for name, parameter in parameters.items() if not name.startswith("norm")}
        plain_sgd(rate)(trained, gradients, state)

    return update


def weight_decay(rate: Tensor, coefficient: float = 1e-4) -> Update:
    """`coefficient * weight` is added to every gradient."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        decayed = {name: gradients[name] + coefficient * parameter for name, parameter in parameters.items()}
        plain_sgd(rate)(parameters, decayed, state)

    return update


def heavy_ball(rate: Tensor, momentum: float = 0.9) -> Update:
    """`velocity = momentum * velocity + gradient; weight -= rate * velocity`."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            state[name] = momentum * state[name] + gradient if name in state else gradient
        plain_sgd(rate)(parameters, state, {})

    return update


def scaled_learning_rate(rate: Tensor, factor: float = 0.5) -> Update:
    """The learning rate is `factor * rate`."""
    return plain_sgd(factor * rate)


def stale_statistics(net: Any, initial: Any, update: int) -> Any:
    """Every update but the first starts from the statistics that were loaded."""
    if update > 1:
        net.load_state_dict(dict(initial.named_buffers()), strict=False)
    return net


def cumulative_average(net: Any, initial: Any, update: int) -> Any:
    """The running statistics are the plain average over all updates."""
    return _set_decay(net, cumulative_decay(initial.spec.decay, update))


def debiased_statistics(net: Any, initial: Any, update: int) -> Any:
    """The running statistics are a zero-debiased moving average."""
    return _set_decay(net, debiased_decay(initial.spec.decay, update))


def _set_decay(net: Any, decay: float) -> Any:
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.decay = decay
    return net


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
