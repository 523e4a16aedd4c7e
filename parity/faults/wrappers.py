"""Faults of single parts, made by changing the arguments or the result of the honest part.

They use operators only, so each works on the arrays of any framework. The parts of the NumPy reference also return a
pullback; `scale_argument` and `scale_result` follow the chain rule for it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any


def scale_argument(honest: Callable[..., Any], arguments: tuple[Any, ...], index: int, factor: float) -> Any:
    """Return `honest(*arguments)` with one argument times `factor`; a pullback's gradient gets the same factor."""
    result = honest(*arguments[:index], factor * arguments[index], *arguments[index + 1 :])
    if not (isinstance(result, tuple) and callable(result[-1])):
        return result
    *values, pull = result

    def pullback(*gradients: Any) -> tuple[Any, ...]:
        found = pull(*gradients)
        return (*found[:index], factor * found[index], *found[index + 1 :])

    return (*values, pullback)


def scale_result(result: Any, factor: float) -> Any:
    """Return a value, or a value and its gradient, times `factor`."""
    return tuple(factor * part for part in result) if isinstance(result, tuple) else factor * result


def missing_bias(honest: Callable[..., Any], x: Any, kernel: Any, bias: Any) -> Any:
    """Add no bias."""
    return scale_argument(honest, (x, kernel, bias), 2, 0)


def unbiased_normalizer(honest: Callable[..., Any], x: Any, *moments: Any) -> Any:
    """In training, normalize by the variance `var * n / (n - 1)`."""
    n, train = x.shape[-2], moments[-1]
    return scale_argument(honest, (x, *moments), 2, n / max(n - 1, 1) if train else 1)


def epsilon_twice_in_eval(
    honest: Callable[..., Any], x: Any, mean: Any, var: Any, scale: Any, bias: Any, eps: float, train: bool
) -> Any:
    """In evaluation, divide by `sqrt(var + 2 * eps)`."""
    return honest(x, mean, var, scale, bias, eps if train else 2 * eps, train)


def scale_plus_one(
    honest: Callable[..., Any], x: Any, mean: Any, var: Any, scale: Any, bias: Any, eps: float, train: bool
) -> Any:
    """Read the scale as `1 + scale`."""
    return honest(x, mean, var, 1 + scale, bias, eps, train)


def frozen_running_statistics(honest: Callable[..., Any], running_mean: Any, running_var: Any, *batch: Any) -> Any:
    """Keep the running statistics as they are."""
    return running_mean, running_var


def double_update(honest: Callable[..., Any], running_mean: Any, running_var: Any, *batch: Any) -> Any:
    """Update the running statistics twice for each batch."""
    return honest(*honest(running_mean, running_var, *batch), *batch)


def unscaled_dropout(honest: Callable[..., Any], x: Any, mask: Any, rate: float) -> Any:
    """Do not scale the units that are kept."""
    return honest(x, mask, 0.0)


def batch_of_one(honest: Callable[..., Any], batch_size: int) -> None:
    """Refuse no batch."""


def train_uses_running_statistics(
    honest: Callable[..., Any], net: Any, inputs: Any, train: bool, masks: Any = None
) -> Any:
    """Train in evaluation mode; the running statistics stay."""
    return honest(net, inputs, False)


def eval_updates_statistics(honest: Callable[..., Any], net: Any, inputs: Any, train: bool, masks: Any = None) -> Any:
    """Let evaluation update the running statistics, for the next to use."""
    output = honest(net, inputs, train, masks)
    return output if train else replace(output, statistics=honest(net, inputs, True).statistics)


def forgotten_eval(honest: Callable[..., Any], net: Any, inputs: Any, train: bool, masks: Any = None) -> Any:
    """Evaluate as in training: by the batch's statistics, which enter the running ones."""
    return honest(net, inputs, True, masks)


def summed_loss(honest: Callable[..., Any], logits: Any, labels: Any, *rounded: Any) -> Any:
    """Sum the loss over the batch."""
    return scale_result(honest(logits, labels, *rounded), len(labels))
