"""The linear layer, in PyTorch."""

import torch
from torch import Tensor, nn

from bntorch.parts import HONEST, Parts


class Linear(nn.Linear):
    """`x @ weight.T + bias`, both drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    The names of the parameters are those of `torch.nn.Linear`, so the two take each other's tensors.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        dtype: of the product and what it gives; None for the parameters' and the input's.
        parts: `linear` is the one that is used.
    """

    def __init__(
        self, in_features: int, out_features: int, dtype: torch.dtype | None = None, parts: Parts = HONEST
    ) -> None:
        super().__init__(in_features, out_features)
        self.dtype, self.parts = dtype, parts

    def forward(self, input: Tensor) -> Tensor:
        """Map `input`, shape (batch, in_features), to shape (batch, out_features)."""
        x, weight, bias = input, self.weight, self.bias
        if self.dtype is not None:
            x, weight, bias = x.to(self.dtype), weight.to(self.dtype), bias.to(self.dtype)
        return self.parts.linear(x, weight, bias)
