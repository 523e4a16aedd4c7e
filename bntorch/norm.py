"""Batch norm under the spec's conventions, in PyTorch."""

import torch
from torch import Tensor, nn

from parity.spec import RunningVariance, check_training_batch


class BatchNorm(nn.Module):
    """Batch norm over the first axis.

    Training, with the batch's mean `m` and biased variance `v` (two-pass)::

        y = weight * (x - m) / sqrt(v + eps) + bias
        running_mean = decay * running_mean + (1 - decay) * m
        running_var  = decay * running_var  + (1 - decay) * v * n / (n - 1)     "biased": without the factor

    Evaluating, `m` and `v` are `running_mean` and `running_var`, which stay as they are. The names of parameters and
    buffers are those of `torch.nn.BatchNorm1d`, so the two take each other's tensors.

    Args:
        num_features: size of the last axis.
        eps: inside the square root.
        decay: share of the old statistic that is kept (Torch's `momentum` is `1 - decay`).
        running_variance: which variance enters the running one.

    Raises:
        InputError: fewer than two samples in training.

    Reference: Ioffe and Szegedy, 2015.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        decay: float = 0.9,
        running_variance: RunningVariance = RunningVariance.UNBIASED,
    ) -> None:
        super().__init__()
        self.eps, self.decay, self.running_variance = eps, decay, running_variance
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`, shape (batch, features)."""
        if not self.training:
            return normalize(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

        check_training_batch(len(x))
        mean, var = batch_moments(x)
        with torch.no_grad():
            new_var = var
            if self.running_variance == RunningVariance.UNBIASED:
                new_var = var * (len(x) / (len(x) - 1))
            self.running_mean.mul_(self.decay).add_(mean, alpha=1 - self.decay)
            self.running_var.mul_(self.decay).add_(new_var, alpha=1 - self.decay)
        return normalize(x, mean, var, self.weight, self.bias, self.eps)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the first axis, two-pass: E[x^2] - E[x]^2 would cancel."""
    mean = x.mean(dim=0)
    return mean, torch.square(x - mean).mean(dim=0)


def normalize(x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float) -> Tensor:
    """`scale * (x - mean) / sqrt(var + eps) + bias`."""
    return scale * (x - mean) * torch.rsqrt(var + eps) + bias
