"""Several inputs and outputs, dictionaries, a keyword argument, whole numbers, and dropout."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
from parity.pair.inputs import integers, normal

inputs = {
    "features": {"numbers": normal(5, 4), "word": integers(5, below=9)},
    "scale": normal(5, 1),
    "labels": integers(5, below=3),
}


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.numbers, self.drop = nn.Embedding(9, 6), nn.Linear(4, 6), nn.Dropout(0.5)
        self.classes, self.value = nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, features: dict[str, torch.Tensor], *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.drop(F.softplus(self.embed(features["word"]) + self.numbers(features["numbers"])))
        return {"logits": self.classes(x), "value": self.value(x) * scale}


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, features: dict[str, jax.Array], *, scale: jax.Array, deterministic: bool) -> dict[str, Any]:
        x = fnn.Embed(9, 6)(features["word"]) + fnn.Dense(6)(features["numbers"])
        x = fnn.Dropout(0.5, deterministic=deterministic)(fnn.softplus(x))
        value = fnn.Dense(1)(x)
        return {"value": value if self.fault == "missing_scale" else value * scale, "logits": fnn.Dense(3)(x)}


def reference() -> Any:
    def loss(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs["logits"], labels) + outputs["value"].square().mean()

    return bntorch.port(TorchNet(), loss=loss)


def candidate(fault: str = "") -> Any:
    def loss(outputs: dict[str, jax.Array], labels: jax.Array) -> jax.Array:
        picked = jnp.take_along_axis(jax.nn.log_softmax(outputs["logits"]), labels[:, None], 1)
        square = outputs["value"] ** 2
        return -picked.mean() + (square.sum() if fault == "loss_reduction" else square.mean())

    return bnjax.port(FlaxNet(fault), loss=loss)
