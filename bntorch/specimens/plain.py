"""A plain JAX function with a dictionary of parameters, stored as (out, in), against stock PyTorch."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

SIZES = (6, 7, 7, 4)


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*each) for each in pairwise(SIZES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
