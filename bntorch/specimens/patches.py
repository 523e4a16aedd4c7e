"""A small vision transformer, whose table of places is resized to the image: PyTorch, and linen."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

WIDTH, HEADS, PLACES, SIZE = 8, 2, 6, 4  # places along each side of the table, and of the image


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 2, stride=2)
        self.places = nn.Parameter(torch.randn(1, WIDTH, PLACES, PLACES))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj, self.head = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = F.interpolate(self.places, size=(SIZE, SIZE), mode="bilinear")
        x = (self.patch(x) + places).flatten(2).transpose(1, 2)
        y = self.qkv(self.norm1(x))
        q, k, v = y.reshape(*y.shape[:2], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.proj(y)
        return self.head(self.norm2(x).mean(1))


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
