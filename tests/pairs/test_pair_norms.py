"""Every kind of norm: another epsilon is named, whatever is normalized together."""

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import pytest
import torch
import torch.nn.functional as F
from kinds.losses import cross_entropy
from torch import nn

import bnjax
import bntorch
import parity

INPUTS = {"x": parity.normal(2, 3, 5, 6), "labels": parity.integers(2, below=3)}
NORMS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any]]] = {
    "groups": (lambda: nn.GroupNorm(2, 4), lambda e: fnn.GroupNorm(2, epsilon=e)),
    "one group": (lambda: nn.GroupNorm(1, 4), lambda e: fnn.GroupNorm(1, epsilon=e)),
    "instance": (lambda: nn.InstanceNorm2d(4, affine=True), lambda e: fnn.InstanceNorm(epsilon=e)),
}


class TorchNet(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), norm, nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.silu(self.norm(self.conv(x))).mean((2, 3)))


class FlaxNet(fnn.Module):
    norm: Callable[..., Any]
    epsilon: float

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norm(self.epsilon)(fnn.Conv(4, (3, 3), name="conv")(x))
        return fnn.Dense(3, name="head")(fnn.silu(x).mean((1, 2)))


@pytest.mark.parametrize("name", NORMS)
def test_another_epsilon_is_named(name: str) -> None:
    ours, theirs = NORMS[name]
    ports = (
        bntorch.port(TorchNet(ours()), loss=F.cross_entropy),
        bnjax.port(FlaxNet(theirs, 1e-6), loss=cross_entropy),
    )
    (finding,) = parity.compare(*ports, inputs=INPUTS, questions=("forced",)).findings
    assert (finding.reference, finding.cause.name) == ("norm", "norm_epsilon")
    assert finding.cause.evidence == "epsilon is 1e-06; in the reference it is 1e-05"
