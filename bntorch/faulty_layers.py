"""The faulty parts of linear layer and norm, in PyTorch; `faults.py` names them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bntorch.parts import batch_moments, dropout, linear, normalize, update_statistics
from parity.spec import RunningVariance


def missing_bias(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """No bias is added."""
    del bias
    return functional.linear(x, kernel)


def bfloat16_matmul(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Operands of float32 products are rounded to bfloat16's 7 bits of mantissa."""
    return linear(_round(x, 7), _round(kernel, 7), bias)


def tf32_matmul(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Operands of float32 products are rounded to TF32's 10 bits of mantissa."""
    return linear(_round(x, 10), _round(kernel, 10), bias)


def _round(x: Tensor, bits: int) -> Tensor:
    return _RoundMantissa.apply(x, bits) if x.dtype == torch.float32 else x


class _RoundMantissa(torch.autograd.Function):
    """`x` to the nearest, ties to even, of `bits` explicit bits of mantissa; its derivative is 1."""

    @staticmethod
    def forward(x: Tensor, bits: int) -> Tensor:
        dropped = 23 - bits
        pattern = x.contiguous().view(torch.int32)
        half_or_less = 2 ** (dropped - 1) - 1 + ((pattern >> dropped) & 1)  # a half goes up only from an odd number
        rounded = (pattern + half_or_less) & -(2**dropped)
        return torch.where(x.isfinite(), rounded.view(torch.float32), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return _RoundMantissa.apply(*args), in_dims[0]


def fast_variance(x: Tensor) -> tuple[Tensor, Tensor]:
    """`var = E[x^2] - E[x]^2`, and 0 where that is negative."""
    mean = x.mean(dim=0)
    return mean, torch.relu(torch.square(x).mean(dim=0) - torch.square(mean))


def population_leak(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the members of a population too."""
    return batch_moments(_AllMembers.apply(x))


class _AllMembers(torch.autograd.Function):
    """The samples of every member of a mapped population, shape (members * batch, features); alone: `x`."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return args[0].movedim(in_dims[0], 0).flatten(0, 1), None


def unbiased_normalizer(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """In training the normalizer's variance is `var * n / (n - 1)`."""
    if train:
        var = var * (len(x) / max(len(x) - 1, 1))
    return normalize(x, mean, var, scale, bias, eps, train)


def epsilon_outside_sqrt(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """`scale * (x - mean) / (sqrt(var) + eps) + bias`; the root's derivative at 0 is taken for 0."""
    del train
    positive = torch.where(var > 0, var, 1)
    return scale * (x - mean) / (torch.where(var > 0, torch.sqrt(positive), 0) + eps) + bias


def epsilon_twice_in_eval(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """In evaluation `sqrt(var + 2 * eps)`."""
    return normalize(x, mean, var, scale, bias, eps if train else 2 * eps, train)


def scale_plus_one(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """The scale is read as `1 + scale`."""
    return normalize(x, mean, var, 1 + scale, bias, eps, train)


def wrong_axis(x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool) -> Tensor:
    """In training the normalizer's mean and biased variance are over each sample's features."""
    if train:
        mean, var = (moment[:, None] for moment in batch_moments(x.T))
    return normalize(x, mean, var, scale, bias, eps, train)


def detached_statistics(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """No gradient flows through mean and variance."""
    return normalize(x, mean.detach(), var.detach(), scale, bias, eps, train)


def frozen_running_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[Tensor, Tensor]:
    """The running statistics stay as they are."""
    del mean, var, size, decay, running_variance
    return running_mean, running_var


def double_update(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[Tensor, Tensor]:
    """A batch updates the running statistics twice."""
    once = update_statistics(running_mean, running_var, mean, var, size, decay, running_variance)
    return update_statistics(*once, mean, var, size, decay, running_variance)


def float32_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    size: int,
    decay: float,
    running_variance: RunningVariance,
) -> tuple[Tensor, Tensor]:
    """The new statistics are rounded to float32, whatever the working dtype is."""
    new_mean, new_var = update_statistics(running_mean, running_var, mean, var, size, decay, running_variance)
    return new_mean.to(torch.float32).to(mean.dtype), new_var.to(torch.float32).to(var.dtype)


def unscaled_dropout(x: Tensor, mask: Tensor, rate: float) -> Tensor:
    """The units that are kept stay as they are."""
    del rate
    return dropout(x, mask, 0.0)


def batch_of_one(batch_size: int) -> None:
    """Nothing is refused."""
    del batch_size
