"""A port with a batch norm written by hand, and the textbook's closed form for its backward pass."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .collection import FLOAT32, Candidate
from .stock_torch import ShowingStockTorch


class Normalize(torch.autograd.Function):
    """gamma * (x - mean) / sqrt(var + eps) + beta, with the biased variance of the batch.

    Backward, with n samples, `xhat` the normalized input and `dy` the gradient of the output::

        dx = gamma / (n * sqrt(var + eps)) * (n * dy - sum(dy) - xhat * sum(dy * xhat))
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(dim=0)
        inv_std = 1 / torch.sqrt((centred**2).mean(dim=0) + eps)
        xhat = centred * inv_std
        ctx.save_for_backward(xhat, gamma, inv_std)
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        xhat, gamma, inv_std = ctx.saved_tensors
        n = len(xhat)
        dx = (gamma * inv_std / n) * (n * dy - dy.sum(dim=0) - xhat * (dy * xhat).sum(dim=0))
        return dx, (dy * xhat).sum(dim=0), dy.sum(dim=0), None


class HandwrittenNorm(nn.Module):
    """Batch norm over the first axis; each line that people get wrong is a method."""

    running_mean: Tensor
    running_var: Tensor
    normalize: ClassVar[Any] = Normalize

    def __init__(self, features: int, eps: float, decay: float, unbiased: bool) -> None:
        super().__init__()
        self.eps, self.decay, self.unbiased = eps, decay, unbiased
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x`, shape (batch, features)."""
        if not self.training:
            return self.evaluated(x)
        if len(x) < 2:
            raise ValueError(f"batch norm needs at least 2 samples in training, got {len(x)}")
        y = self.trained(x)
        with torch.no_grad():
            self.update_statistics(x, y)
        return y

    def trained(self, x: Tensor) -> Tensor:
        """By the statistics of the batch."""
        return self.normalize.apply(x, self.weight, self.bias, self.eps)

    def evaluated(self, x: Tensor) -> Tensor:
        """By the running statistics."""
        return self.weight * (x - self.running_mean) / torch.sqrt(self.running_var + self.eps) + self.bias

    def update_statistics(self, x: Tensor, y: Tensor) -> None:
        """Take the batch's statistics in."""
        del y
        self.running_mean.copy_(self.decay * self.running_mean + (1 - self.decay) * self.batch_mean(x))
        self.running_var.copy_(self.decay * self.running_var + (1 - self.decay) * self.batch_variance(x))

    def batch_mean(self, x: Tensor) -> Tensor:
        """What the running mean takes in."""
        return x.mean(dim=0)

    def batch_variance(self, x: Tensor) -> Tensor:
        """What the running variance takes in."""
        return x.var(dim=0, correction=int(self.unbiased))


class HandwrittenTorch(ShowingStockTorch):
    """Stock modules, but for the norm."""

    port: ClassVar[str] = "handwritten torch"
    norm: ClassVar[type[HandwrittenNorm]] = HandwrittenNorm

    def make_norm(self, layer: int) -> nn.Module:
        del layer
        spec = self.spec
        return self.norm(spec.hidden_width, spec.eps, spec.decay, spec.running_variance == "unbiased")


def make_backend() -> Candidate:
    """A norm by hand."""
    return Candidate("handwritten torch", HandwrittenTorch)


def make_float32() -> Candidate:
    """The same, offering float32 only."""
    return Candidate("handwritten torch, float32 only", HandwrittenTorch, FLOAT32)
