"""Functions that hold each tensor by itself: a cell written by hand, projections whose names say little."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.verdict.verdict import Verdict


class TorchProjections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ahead, self.behind, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.behind(F.silu(self.ahead(x)))))


def projections(p: Any, x: jax.Array) -> jax.Array:
    x = jax.nn.silu(x @ p["w9"] + p["b9"])
    return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["head"]["w"] + p["head"]["b"]


def test_what_a_module_holds_is_exchanged_together() -> None:
    """The names stand in the other order, and neither the kernel nor the bias alone fits in the other place."""
    forms: Any = {"w1": (6, 6), "b1": (6,), "w9": (6, 6), "b9": (6,), "head": {"w": (6, 4), "b": (4,)}}
    parameters = jax.tree.map(np.ones, forms, is_leaf=lambda leaf: isinstance(leaf, tuple))
    reference = bntorch.port(TorchProjections(), loss=F.cross_entropy)
    candidate = bnjax.port(projections, parameters, loss=cross_entropy)
    inputs = {"x": parity.normal(4, 6), "labels": parity.integers(4, below=4)}
    report = parity.compare(reference, candidate, inputs=inputs, questions=("forced",))
    assert report.verdict is Verdict.AGREE, report.findings
    assert {path: way.candidate for path, way in report.weights.items()} == {
        "ahead.weight": "w9", "ahead.bias": "b9", "behind.weight": "w1", "behind.bias": "b1",
        "head.weight": "head.w", "head.bias": "head.b",
    }  # fmt: skip
