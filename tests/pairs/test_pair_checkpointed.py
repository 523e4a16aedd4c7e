"""A PyTorch model that is checkpointed runs once more while it is derived."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.pair.findings import FindingKind
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(5, 6), "labels": parity.integers(5, below=4)}


class TorchNet(nn.Module):
    """Two blocks that are checkpointed, and one module that both use."""

    def __init__(self, is_reentrant: bool) -> None:
        super().__init__()
        self.is_reentrant = is_reentrant
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 6)) for _ in range(2))
        self.shared, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:

            def run(x: torch.Tensor, block: Any = block) -> torch.Tensor:
                return x + self.shared(block(x))

            x = checkpoint(run, x, use_reentrant=self.is_reentrant)
        return self.head(x)


class FlaxNet(fnn.Module):
    """With a fault its second tanh is none backward."""

    fault: bool = False

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shared = fnn.Dense(6, name="shared")
        for number in range(2):
            y = fnn.Dense(7, name=f"blocks_{number}_0")(x)
            z = jnp.tanh(y)
            if self.fault and number:
                z = y + jax.lax.stop_gradient(z - y)
            x = x + shared(fnn.Dense(6, name=f"blocks_{number}_2")(z))
        return fnn.Dense(4, name="head")(x)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("is_reentrant", [False, True])
def test_it_agrees(is_reentrant: bool, is_reversed: bool) -> None:
    ports: list[Any] = [
        bntorch.port(TorchNet(is_reentrant), loss=F.cross_entropy),
        bnjax.port(FlaxNet(), loss=cross_entropy),
    ]
    if is_reversed:
        ports.reverse()
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced", "free"))
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)


@pytest.mark.parametrize("is_reentrant", [False, True])
def test_a_fault_backward_is_at_its_place(is_reentrant: bool) -> None:
    ports = bntorch.port(TorchNet(is_reentrant), loss=F.cross_entropy), bnjax.port(FlaxNet(True), loss=cross_entropy)
    (finding,) = parity.compare(*ports, inputs=INPUTS, questions=("forced",)).findings
    assert finding.kind is FindingKind.BACKWARD
    assert finding.between == ("blocks.1.0", "blocks.1.2")
