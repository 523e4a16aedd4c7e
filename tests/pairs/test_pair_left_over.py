"""Tensors that have no partner: one finding where models differ, and bad input where nothing tells which is which."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.errors import InputError
from parity.pair.findings import FindingKind
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(4, 6), "labels": parity.integers(4, below=4)}


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8, bias=False)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        return self.head(self.norm(x + self.second(x)))


class FlaxNet(fnn.Module):
    """`width` is of the first layer; with `is_normed` False the norm is missing."""

    is_normed: bool = True
    width: int = 8

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(fnn.Dense(self.width, name="first")(x))
        x = x + fnn.Dense(self.width, use_bias=False, name="second")(x)
        x = fnn.LayerNorm(epsilon=1e-5, name="norm")(x) if self.is_normed else x
        return fnn.Dense(4, name="head")(x)


def compare(candidate: Any, is_reversed: bool = False, **options: Any) -> parity.CompareReport:
    reference: Any = bntorch.port(TorchNet(), loss=F.cross_entropy)
    ports = (candidate, reference) if is_reversed else (reference, candidate)
    return parity.compare(*ports, inputs=INPUTS, questions=("forced", "free"), **options)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_module_that_one_side_lacks_is_one_finding(is_reversed: bool) -> None:
    report = compare(bnjax.port(FlaxNet(is_normed=False), loss=cross_entropy), is_reversed)
    assert [each.kind for each in report.findings] == [FindingKind.WEIGHTS]
    assert report.findings[0].value.startswith("norm.weight (8,), norm.bias (8,)")


@pytest.mark.parametrize("is_reversed", [False, True])
def test_another_width_is_one_finding_that_lists_the_shapes_of_both(is_reversed: bool) -> None:
    report = compare(bnjax.port(FlaxNet(width=7), loss=cross_entropy), is_reversed)
    assert [each.kind for each in report.findings] == [FindingKind.WEIGHTS]
    finding = report.findings[0]
    assert all(words in finding.value for words in ("first.weight (8, 6)", "first.kernel (6, 7)"))


class OtherBias(fnn.Module):
    """As many numbers, and the bias in the wrong layer."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(fnn.Dense(8, use_bias=False, name="first")(x))
        x = fnn.LayerNorm(epsilon=1e-5, name="norm")(x + fnn.Dense(8, name="second")(x))
        return fnn.Dense(4, name="head")(x)


def test_a_bias_in_the_wrong_layer_is_a_difference_and_no_bad_input() -> None:
    report = compare(bnjax.port(OtherBias(), loss=cross_entropy))
    # By places: the bias of the second is told in halves, which have the form of the head's.
    assert {(each.reference, each.cause.name) for each in report.findings} == {
        ("first", "missing_bias"),
        ("second", "missing_bias"),
    }


def network(parameters: Any, x: jax.Array) -> jax.Array:
    """As people write it by hand: a dictionary for a block, and the names of its tensors."""
    block = parameters["block"]
    x = jnp.tanh(jnp.einsum("bi,ihk->bhk", x, block["w1"]).reshape(len(x), -1) + block["b1"])
    x = x + x @ block["w2"].T
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * block["g"] + block["b"]
    return x @ parameters["head"]["w"] + parameters["head"]["b"]


def by_hand() -> Any:
    shapes = {"w1": (6, 2, 4), "b1": (8,), "w2": (8, 8), "g": (8,), "b": (8,)}
    parameters: Any = {"block": {name: np.ones(shape) for name, shape in shapes.items()}}
    parameters["head"] = {"w": np.ones((8, 4)), "b": np.ones(4)}

    def call(function: Any, batch: Any, train: bool) -> jax.Array:
        return function(batch["x"])

    return bnjax.port(network, parameters, loss=cross_entropy, call=call)


PINS: Any = {"norm.weight": "block.g", "norm.bias": "block.b"}


@pytest.mark.parametrize("weights", [PINS, {"first.bias": "block.b1"}])
def test_what_one_side_holds_in_one_module_and_the_other_in_several_goes_tensor_by_tensor(weights: Any) -> None:
    report = compare(by_hand(), weights=weights)
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)
    assert report.coverage["parameters"].rest == ()


class Stacked(fnn.Module):
    """The same numbers in one tensor, along its second axis: no transform of one of the reference's is it."""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        every = self.param("every", fnn.initializers.normal(), (8, 5, 8))
        x = x @ every[:6, 0]
        for number in range(1, 5):
            x = x @ every[:, number]
        return fnn.Dense(4, name="head")(x)


class Separate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(5))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (0, 2))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def test_weights_that_cannot_be_mapped_are_told_with_what_was_tried_and_how_to_pin_them() -> None:
    with pytest.raises(InputError) as raised:
        parity.compare(bntorch.port(Separate()), bnjax.port(Stacked()), inputs={"x": INPUTS["x"]})
    words = str(raised.value)
    for part in ("names (2 tensors found)", "layers.0.weight (8, 8)", "every (8, 5, 8)", 'weights={"NAME": '):
        assert part in words
    assert "\n" not in words

    def convert(state: Any) -> Any:
        every = np.stack([state[f"layers.{number}.weight"].T for number in range(5)], axis=1)
        return {"every": every, "head": {"kernel": state["head.weight"].T, "bias": state["head.bias"]}}

    ports = bntorch.port(Separate()), bnjax.port(Stacked())
    report = parity.compare(*ports, inputs={"x": INPUTS["x"]}, questions=("forced",), weights=convert)
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert "parameters of the reference: layers.0.weight" in report.not_compared[0]


class TorchOffset(nn.Module):
    """Something is added that is not trained, as BART's final bias is."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.register_buffer("offset", torch.zeros(1, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) + self.offset


class FlaxOffset(fnn.Module):
    """It is a parameter."""

    factor: float = 1.0

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        offset = self.param("offset", fnn.initializers.zeros, (1, 4))
        return fnn.Dense(4, name="head")(x) + self.factor * offset


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_buffer_that_the_other_side_trains_is_mapped_and_told(is_reversed: bool) -> None:
    def compared(factor: float) -> parity.CompareReport:
        ports: list[Any] = [
            bntorch.port(TorchOffset(), loss=F.cross_entropy, optimizer=lambda p: torch.optim.SGD(p, 0.1)),
            bnjax.port(FlaxOffset(factor), loss=cross_entropy, optimizer=optax.sgd(0.1)),
        ]
        return parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS)

    report = compared(factor=1.0)
    assert report.verdict is Verdict.INCOMPLETE, report.findings
    assert report.weights["offset"].candidate == "offset"
    assert report.not_compared[0] == "gradient of offset: one side trains it, and the other holds it as it is"
    assert compared(factor=2.0).verdict is Verdict.DISAGREE
