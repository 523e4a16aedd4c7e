"""Deep models: one fault in layer 40 of 50 is that layer alone, and five faults are five findings."""

from collections.abc import Mapping

import flax.linen as fnn
import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.pair.findings import FindingKind
from parity.pair.records import Mark
from parity.verdict.compare import SAFETY

WIDTH = 5
INPUTS = {"x": parity.normal(4, WIDTH), "labels": parity.integers(4, below=WIDTH)}


class TorchBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.gelu(self.norm(self.linear(x)))


class FlaxBlock(fnn.Module):
    fault: str

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = fnn.Dense(WIDTH)(x)
        y = 1.01 * y if self.fault == "scaled" else y
        y = fnn.LayerNorm(epsilon={"epsilon": 1.1e-5, "epsilon of Flax": 1e-6}.get(self.fault, 1e-5))(y)
        y = jnp.tanh(y) if self.fault == "tanh" else fnn.gelu(y, approximate=self.fault == "gelu")
        return y if self.fault == "missing residual" else x + y


class FlaxNet(fnn.Module):
    """The faults are by block."""

    depth: int
    faults: Mapping[int, str]

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number in range(self.depth):
            x = FlaxBlock(self.faults.get(number, ""))(x)
        return x


def compare(depth: int, faults: Mapping[int, str]) -> parity.CompareReport:
    return parity.compare(
        bntorch.port(nn.Sequential(*(TorchBlock() for _ in range(depth))), loss=F.cross_entropy),
        bnjax.port(FlaxNet(depth, faults), loss=cross_entropy),
        inputs=INPUTS,
        questions=("forced",),
    )


def test_an_epsilon_in_layer_40_of_50_is_that_layer_alone() -> None:
    (finding,) = compare(50, {40: "epsilon"}).findings
    assert (finding.kind, finding.reference, finding.cause.name) == (FindingKind.FORWARD, "40.norm", "norm_epsilon")
    assert finding.cause.evidence == "epsilon is 1.1e-05; in the reference it is 1e-05"


def test_five_faults_are_five_findings_each_at_its_place() -> None:
    faults = {1: "scaled", 3: "epsilon of Flax", 5: "gelu", 7: "missing residual", 9: "tanh"}
    report = compare(12, faults)
    assert [(f.reference, None if f.between is None else f.between[0], f.cause.name) for f in report.findings] == [
        ("1.norm", "1.linear", "extra_scale"),
        ("3.norm", None, "norm_epsilon"),
        ("5", "5.norm", "gelu_form"),
        ("7", "7.norm", "missing_residual"),
        ("9", "9.norm", "other_activation"),
    ]
    # In the tree exactly these are marked, and what follows from them is counted nowhere.
    assert [row.path for row in report.modules if row.mark is Mark.DIFFERS] == ["3.norm"]
    off = [row for row in report.stretches if row.mark is Mark.DIFFERS]
    assert [row.between for row in off] == [("1.linear", "1.norm"), ("5.norm", "5"), ("7.norm", "7"), ("9.norm", "9")]
    assert off[0].candidate_between == ("FlaxBlock_1.Dense_0", "FlaxBlock_1.LayerNorm_0")
    for row in (*report.modules, *report.stretches):
        assert row.times_noise is None or (row.times_noise > SAFETY) is (row.mark is Mark.DIFFERS), row


def test_a_stretch_that_ends_a_module_is_next_to_the_last_call_within_it() -> None:
    before, after = (compare(2, {1: fault}).findings[0] for fault in ("scaled", "missing residual"))
    lines = [int(str(each.source["reference"]).rpartition(":")[2]) for each in (before, after)]
    assert before.between == ("1.linear", "1.norm")
    assert after.between == ("1.norm", "1")
    assert lines == [TorchBlock.forward.__code__.co_firstlineno + 1] * 2


class Scaled(nn.Module):
    """A layer, and after it a weight that the model itself holds."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.linear, self.scale, self.factor = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.rand(WIDTH)), factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.scale * self.linear(x)


def test_what_follows_from_a_stretch_is_not_counted_at_the_module_around_it() -> None:
    ports = (bntorch.port(Scaled(factor), loss=F.cross_entropy) for factor in (1.0, 1.01))
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",))
    assert [finding.between for finding in report.findings] == [("linear", "")]
    whole = report.modules[0]  # the gradient of its weight is off
    assert (whole.path, whole.mark, whole.times_noise) == ("", Mark.AGREES, None)


class TorchStream(nn.Module):
    """Layers around which values flow, without a module for each block."""

    def __init__(self, fault: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            y = torch.tanh(layer(norm(x)))
            x = x + (1.01 * y if self.fault and number == 1 else y)
        return x


class FlaxStream(fnn.Module):
    fault: bool

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number in range(4):
            y = fnn.LayerNorm(epsilon=1e-5, name=f"norms_{number}")(x)
            y = fnn.tanh(fnn.Dense(WIDTH, name=f"layers_{number}")(y))
            x = x + (1.01 * y if self.fault and number == 1 else y)
        return x


@pytest.mark.parametrize("fault", ["torch", "flax", ""])
@pytest.mark.parametrize("reference", ["torch", "flax"])
def test_a_fault_in_a_stream_of_values_is_seen_once(reference: str, fault: str) -> None:
    ports = [
        bntorch.port(TorchStream(fault == "torch"), loss=F.cross_entropy),
        bnjax.port(FlaxStream(fault == "flax"), loss=cross_entropy),
    ]
    report = parity.compare(*ports[:: 1 if reference == "torch" else -1], inputs=INPUTS, questions=("forced",))
    found = [(f.kind, f.between) for f in report.findings]
    between = ("layers.1", "norms.2") if reference == "torch" else ("layers_1", "norms_2")
    assert found == ([(FindingKind.FORWARD, between)] if fault else [])
