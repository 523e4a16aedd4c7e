"""Several inputs and outputs, dictionaries, a keyword argument, whole numbers, and dropout."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import bntorch


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.numbers, self.drop = nn.Embedding(9, 6), nn.Linear(4, 6), nn.Dropout(0.5)
        self.classes, self.value = nn.Linear(6, 3), nn.Linear(6, 1)

    def forward(self, features: dict[str, torch.Tensor], *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.drop(F.softplus(self.embed(features["word"]) + self.numbers(features["numbers"])))
        return {"logits": self.classes(x), "value": self.value(x) * scale}


def port(fault: str = "") -> Any:
    def loss(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs["logits"], labels) + outputs["value"].square().mean()

    return bntorch.port(TorchNet(), loss=loss)
