"""A causal decoder whose output is tied to its embedding, with its own q, k and v: PyTorch, and NNX."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch

WIDTH, HEADS, WORDS, LENGTH = 12, 2, 19, 6


class TorchLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln1(x)
        q, k, v = (each(y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        return x + self.down(F.silu(self.up(self.ln2(x))))


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH + 1, WIDTH)
        self.layers = nn.ModuleList(TorchLayer() for _ in range(2))
        self.ln = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) + self.places(torch.arange(LENGTH))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln(x)).movedim(-1, 1)


def port(fault: str = "") -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)
