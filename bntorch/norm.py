"""Batch norm under the spec's conventions, in PyTorch."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bntorch.parts import HONEST, Parts
from parity.spec import RunningVariance, as_choice


class BatchNorm(nn.Module):
    """Batch norm over the first axis.

    Training, with the batch's mean `m` and biased variance `v` (two-pass)::

        y = weight * (x - m) / sqrt(v + eps) + bias
        running_mean = decay * running_mean + (1 - decay) * m
        running_var  = decay * running_var  + (1 - decay) * v * n / (n - 1)     "biased": without the factor

    Evaluating, `m` and `v` are `running_mean` and `running_var`, which stay as they are. Inputs of a narrower dtype
    than the parameters' are computed in the parameters' dtype; `y` has the inputs' dtype. The names of parameters and
    buffers are those of `torch.nn.BatchNorm1d`, so the two take each other's tensors.

    Args:
        num_features: size of the last axis.
        eps: inside the square root.
        decay: share of the old statistic that is kept (Torch's `momentum` is `1 - decay`).
        running_variance: the variance that enters the running one, "unbiased" or "biased".
        parts: the formulas.

    Raises:
        InputError: `running_variance` is no choice, or training gets fewer than two samples.

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
        parts: Parts = HONEST,
    ) -> None:
        super().__init__()
        self.eps, self.decay, self.parts = eps, decay, parts
        self.running_variance = as_choice("running_variance", running_variance, RunningVariance)
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Normalize `x`."""
        wide = x.to(torch.promote_types(x.dtype, self.weight.dtype))
        mean, var = self.running_mean, self.running_var
        if self.training:
            self.parts.check_batch(len(x))
            mean, var = self.parts.batch_moments(wide)
            with torch.no_grad():
                new_mean, new_var = self.parts.update_statistics(
                    self.running_mean, self.running_var, mean, var, len(x), self.decay, self.running_variance
                )
                self.running_mean.copy_(new_mean)
                self.running_var.copy_(new_var)
        return self.parts.normalize(wide, mean, var, self.weight, self.bias, self.eps, self.training).to(x.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any) -> None:
        # A stock norm counts its batches; with a fixed decay the count has no use.
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)
