"""Functions that hold each tensor by itself: a cell written by hand, projections whose names say little."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.verdict.verdict import Verdict

INPUTS = {"ids": parity.integers(3, 4, below=9), "labels": parity.integers(3, 4, below=9)}
SHAPES = {"emb": (9, 5), "h0": (6,), "wi": (5, 24), "wh": (6, 24), "b": (24,), "b2": (24,), "w": (6, 9), "out": (9,)}


class TorchCell(nn.Module):
    """An LSTM step by step; its cell gives its state, and uses it within as well."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.cell, self.out = nn.Embedding(9, 5), nn.LSTMCell(5, 6), nn.Linear(6, 9)
        self.h0 = nn.Parameter(torch.randn(6))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.emb(ids)
        h, seen = self.h0.expand(len(x), -1), []
        c = torch.zeros_like(h)
        for step in range(x.shape[1]):
            h, c = self.cell(x[:, step], (h, c))
            seen.append(h)
        return self.out(torch.stack(seen, 1))


def cell(p: Any, ids: jax.Array, order: str = "ifgo") -> jax.Array:
    x = p["emb"][ids]
    start = jnp.broadcast_to(p["h0"], (len(x), 6))

    def step(state: Any, x: jax.Array) -> Any:
        h, c = state
        gate = dict(zip(order, jnp.split(x @ p["wi"] + h @ p["wh"] + p["b"] + p["b2"], 4, -1), strict=True))
        c = jax.nn.sigmoid(gate["f"]) * c + jax.nn.sigmoid(gate["i"]) * jnp.tanh(gate["g"])
        h = jax.nn.sigmoid(gate["o"]) * jnp.tanh(c)
        return (h, c), h

    _, seen = jax.lax.scan(step, (start, jnp.zeros_like(start)), x.swapaxes(0, 1))
    return seen.swapaxes(0, 1) @ p["w"] + p["out"]


def of_cells(order: str = "ifgo") -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}

    def call(function: Any, batch: Any, train: bool) -> jax.Array:
        return function(batch["ids"], order)

    reference = bntorch.port(TorchCell(), loss=lambda z, y: F.cross_entropy(z.transpose(1, 2), y))
    return reference, bnjax.port(cell, parameters, loss=cross_entropy, call=call)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_cell_that_uses_once_more_what_it_gives_agrees(is_reversed: bool) -> None:
    report = parity.compare(*(of_cells()[::-1] if is_reversed else of_cells()), inputs=INPUTS, questions=("forced",))
    assert report.verdict is Verdict.AGREE, report.findings


def test_gates_in_another_order_are_one_finding() -> None:
    report = parity.compare(*of_cells("igfo"), inputs=INPUTS, questions=("forced",))
    (finding,) = report.findings
    assert finding.kind == "forward"
    assert finding.place == "between emb and the output of the model"


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
