"""The project's own network in both frameworks: its conventions are one, so nothing has to be accepted."""

from typing import Any

import torch.nn.functional as F

import bnjax
import bnjax.model
import bntorch
import bntorch.model
from parity.pair.inputs import integers, normal

from .losses import cross_entropy

SIZES = (9, 5, 3, 8, True)
inputs = {"x": normal(6, 9), "labels": integers(6, below=5)}


def reference() -> Any:
    return bntorch.port(bntorch.model.MultiLayerPerceptron(*SIZES), loss=F.cross_entropy)


def candidate(fault: str = "") -> Any:
    eps = 1.1e-5 if fault == "norm_epsilon" else 1e-5
    return bnjax.port(bnjax.model.MultiLayerPerceptron(*SIZES, eps=eps), loss=cross_entropy)
