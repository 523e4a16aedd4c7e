"""An LSTM over embedded words: PyTorch's, with its two biases, and linen's cell, scanned."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers

from .losses import cross_entropy

WORDS, WIDTH, STATE = 13, 5, 6
inputs = {"ids": integers(3, 7, below=WORDS), "labels": integers(3, below=4)}


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(WORDS, WIDTH), nn.LSTM(WIDTH, STATE, batch_first=True)
        self.head = nn.Linear(STATE, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.embed(ids))
        return self.head(outputs[:, -1])


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        x = fnn.Embed(WORDS, WIDTH)(ids)
        gate = fnn.tanh if self.fault == "gate" else fnn.sigmoid
        outputs: Any = fnn.RNN(fnn.OptimizedLSTMCell(STATE, gate_fn=gate), reverse=self.fault == "reversed")(x)
        return fnn.Dense(4)(jnp.mean(outputs, 1) if self.fault == "pool" else outputs[:, -1])


def reference() -> Any:
    return bntorch.port(TorchNet(), loss=F.cross_entropy)


def candidate(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
