"""A transformer encoder with a padding mask: PyTorch's own attention, and linen's."""

from typing import Any

import flax.linen as fnn
import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers

from .losses import cross_entropy

WIDTH, HEADS, WORDS = 12, 3, 17
MASK = np.arange(7) < np.array([[7], [5], [4]])  # True: a word; False: padding
inputs = {"ids": integers(3, 7, below=WORDS), "mask": MASK, "labels": integers(3, below=4)}


class TorchLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.linear1, self.linear2 = nn.Linear(WIDTH, 20), nn.Linear(20, WIDTH)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(7, WIDTH))
        self.layers = nn.ModuleList(TorchLayer() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.positions
        for layer in self.layers:
            x = layer(x, ~mask)
        return self.head(self.norm(x)[:, 0])


class FlaxLayer(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        y = fnn.LayerNorm(epsilon=1e-6 if self.fault == "norm_epsilon" else 1e-5)(x)
        mask = ~mask if self.fault == "mask_polarity" else mask
        x = x + fnn.MultiHeadDotProductAttention(HEADS)(y, y, mask=mask[:, None, None, :])
        y = fnn.LayerNorm(epsilon=1e-5)(x)
        y = fnn.gelu(fnn.Dense(20)(y), approximate=self.fault == "gelu_form")
        y = fnn.Dense(WIDTH)(y)
        return y if self.fault == "missing_residual" else x + y


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        x = fnn.Embed(WORDS, WIDTH)(ids)
        x = x + self.param("positions", fnn.initializers.normal(), (7, WIDTH))
        for layer in range(2):
            x = FlaxLayer(self.fault if layer == 1 else "")(x, mask)
        x = fnn.LayerNorm(epsilon=1e-5)(x)
        return fnn.Dense(4)(x[:, -1] if self.fault == "last_token" else x[:, 0])


def reference() -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)


def candidate(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
