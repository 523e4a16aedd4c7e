"""The faulty parts of linear layer and norm, in PyTorch; `faults.py` names them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bntorch.parts import batch_moments

Part = Callable[..., Any]


def bfloat16_matmul(honest: Part, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Round the operands of float32 products to bfloat16's 7 bits of mantissa."""
    return honest(_round(x, 7), _round(kernel, 7), bias)


def tf32_matmul(honest: Part, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Round the operands of float32 products to TF32's 10 bits of mantissa."""
    return honest(_round(x, 10), _round(kernel, 10), bias)


def _round(x: Tensor, bits: int) -> Tensor:
    return _RoundMantissa.apply(x, bits) if x.dtype == torch.float32 else x


class _RoundMantissa(torch.autograd.Function):
    """Round `x` to `bits` explicit bits of mantissa, to nearest, ties to even; the derivative is 1."""

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


def fast_variance(honest: Part, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `var = E[x^2] - E[x]^2`, and 0 where that is negative."""
    mean, _ = honest(x)
    return mean, torch.relu(torch.square(x).mean(dim=0) - torch.square(mean))


def population_leak(honest: Part, x: Tensor) -> tuple[Tensor, Tensor]:
    """Take mean and variance over the members of a population too."""
    return honest(_AllMembers.apply(x))


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


def epsilon_outside_sqrt(
    honest: Part, x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """Return `scale * (x - mean) / (sqrt(var) + eps) + bias`; the root's derivative at 0 counts as 0."""
    positive = torch.where(var > 0, var, 1)
    return scale * (x - mean) / (torch.where(var > 0, torch.sqrt(positive), 0) + eps) + bias


def wrong_axis(
    honest: Part, x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """In training, normalize by the mean and biased variance over each sample's features."""
    if train:
        mean, var = (moment[:, None] for moment in batch_moments(x.T))
    return honest(x, mean, var, scale, bias, eps, train)


def detached_statistics(
    honest: Part, x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    """Let no gradient flow through mean and variance."""
    return honest(x, mean.detach(), var.detach(), scale, bias, eps, train)


def float32_statistics(honest: Part, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Round the new statistics to float32, in every working dtype."""
    mean, var = honest(*arguments)
    return mean.to(torch.float32).to(mean.dtype), var.to(torch.float32).to(var.dtype)
