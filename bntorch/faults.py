"""The faults that need PyTorch. Each is a function of the honest part and its arguments."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn import functional

from bntorch import faulty_layers
from bntorch.module_state import call_with_state
from bntorch.norm import BatchNorm
from bntorch.parts import Forward, Update
from parity.faults import Fault, cumulative_decay, debiased_decay

Apply = Callable[..., Forward]
Objective = Callable[[Tensor, Tensor], Tensor]
Optimizer = Callable[[Tensor], Update]
Carry = Callable[[Any, Any, int], Any]


def padded_batch(
    honest: Apply, net: Any, inputs: Tensor, train: bool, masks: Tensor | None = None, *, size: int = 32
) -> Forward:
    """In training, fill the batch up with zero rows to a multiple of `size`; they enter the statistics."""
    n = len(inputs)
    if train:
        short = -n % int(size)
        inputs = functional.pad(inputs, (0, 0, 0, short))
        masks = None if masks is None else functional.pad(masks, (0, 0, 0, short), value=True)
    output = honest(net, inputs, train, masks)
    shown = {name: value[:n] for name, value in output.activations.items()}
    return replace(output, logits=output.logits[:n], activations=shown)


def eval_uses_batch_statistics(
    honest: Apply, net: Any, inputs: Tensor, train: bool, masks: Tensor | None = None
) -> Forward:
    """In evaluation, normalize by the batch's statistics."""
    buffers = {} if train else {name: buffer.clone() for name, buffer in net.named_buffers()}
    return call_with_state(honest, net, buffers, inputs, True, masks)


def double_softmax(honest: Objective, logits: Tensor, labels: Tensor) -> Tensor:
    """Take probabilities for logits."""
    return honest(logits.softmax(dim=-1), labels)


def label_smoothing(honest: Objective, logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Return `(1 - smoothing) * loss + smoothing * mean over the classes of -log p`."""
    uniform = -logits.log_softmax(dim=-1).mean()
    return (1 - smoothing) * honest(logits, labels) + smoothing * uniform


def untrained_affine(honest: Optimizer, rate: Tensor) -> Update:
    """Do not update the norms' scale and bias."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        trained = {name: parameter for name, parameter in parameters.items() if not name.startswith("norm")}
        honest(rate)(trained, gradients, state)

    return update


def weight_decay(honest: Optimizer, rate: Tensor, coefficient: float = 1e-4) -> Update:
    """Add `coefficient * weight` to every gradient."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        decayed = {name: gradients[name] + coefficient * parameter for name, parameter in parameters.items()}
        honest(rate)(parameters, decayed, state)

    return update


def heavy_ball(honest: Optimizer, rate: Tensor, momentum: float = 0.9) -> Update:
    """Update by the velocity: `velocity = momentum * velocity + gradient; weight -= rate * velocity`."""

    def update(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], state: dict[str, Tensor]) -> None:
        for name, gradient in gradients.items():
            state[name] = momentum * state[name] + gradient if name in state else gradient
        honest(rate)(parameters, state, {})

    return update


def scaled_learning_rate(honest: Optimizer, rate: Tensor, factor: float = 0.5) -> Update:
    """Use the learning rate `factor * rate`."""
    return honest(factor * rate)


def stale_statistics(honest: Carry, net: Any, initial: Any, update: int) -> Any:
    """Start every update but the first from the statistics that were loaded."""
    net = honest(net, initial, update)
    if update > 1:
        net.load_state_dict(dict(initial.named_buffers()), strict=False)
    return net


def cumulative_average(honest: Carry, net: Any, initial: Any, update: int) -> Any:
    """Make the running statistics the plain average over all updates."""
    return _set_decay(honest(net, initial, update), cumulative_decay(initial.spec.decay, update))


def debiased_statistics(honest: Carry, net: Any, initial: Any, update: int) -> Any:
    """Make the running statistics a zero-debiased moving average."""
    return _set_decay(honest(net, initial, update), debiased_decay(initial.spec.decay, update))


def _set_decay(net: Any, decay: float) -> Any:
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.decay = decay
    return net


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
