"""What published models do that models written by hand seldom do."""

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn
from torch.utils import _pytree as pytree

import bnjax
import bntorch
import parity
from parity.backend.port import Mode
from parity.errors import InputError

FORWARD = ("forced", "free")
INPUTS = {"x": parity.normal(3, 4), "target": parity.normal(3, 2)}
PARAMETERS = {"first": np.ones((4, 5)), "second": np.ones((5, 2)), "count": np.array(7), "is_plain": np.array(True)}


class Output(OrderedDict[str, Any]):
    """As transformers' outputs are: registered as a tree, without a way to tell its keys."""


pytree.register_pytree_node(
    Output, lambda out: (list(out.values()), list(out)), lambda v, k: Output(zip(k, v, strict=True))
)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5, bias=False), nn.Linear(5, 2, bias=False)

    def forward(self, x: torch.Tensor) -> Output:
        hidden = torch.tanh(self.first(x))
        return Output(logits=self.second(hidden), hidden=[hidden])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)["logits"]


def network(parameters: Any, x: jax.Array) -> jax.Array:
    hidden = jnp.tanh(x @ parameters["first"])
    return jnp.where(parameters["is_plain"], hidden @ parameters["second"], parameters["count"])


def squared(y: Any, target: Any) -> Any:
    return ((y - target) ** 2).mean()


def test_an_output_that_tells_no_keys_is_followed_by_its_names() -> None:
    port = bntorch.port(Net(), loss=squared)
    given = {"x": np.ones((3, 4)), "target": np.ones((3, 2))}
    boundaries = port.anatomy(given, Mode.TRAIN).boundaries
    leaves = [each.leaf for each in boundaries if each.call.module == "inner" and each.end == "output"]
    assert leaves == ["['logits']", "['hidden'][0]"]


def test_whole_numbers_among_a_functions_parameters_are_not_trained() -> None:
    report = parity.compare(
        bntorch.port(Net(), loss=squared),
        bnjax.port(network, PARAMETERS, loss=squared),
        inputs=INPUTS,
        questions=FORWARD,
    )
    assert report.agrees, report.findings
    assert report.coverage["parameters"].compared == 2


class Masked(nn.Module):
    """As the text model of CLIP: the lowest number of the states' dtype, in a mask of the default dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x)
        mask = torch.full((4,), torch.finfo(x.dtype).min)
        mask.masked_fill_(torch.arange(4) < 3, 0)
        return torch.softmax(x + mask.to(x.dtype), -1)


class FlaxMasked(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Dense(4, name="linear")(x)
        return jax.nn.softmax(jnp.where(jnp.arange(4) < 3, x, jnp.finfo(x.dtype).min))


def test_a_mask_of_the_lowest_float64_in_float32_is_lifted() -> None:
    inputs = {"x": parity.normal(3, 4), "target": parity.normal(3, 4)}
    ports = bntorch.port(Masked(), loss=squared), bnjax.port(FlaxMasked(), loss=squared)
    report = parity.compare(*ports, inputs=inputs, questions=FORWARD)
    assert not report.findings


class Counted(nn.Module):
    """As OPT: positions are counted in floats, and then cut."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(x[..., 0])
        assert (mask > 0).cumsum(-1).max() <= mask.sum()  # of truth values too
        return x + self.table((mask.cumsum(-1) * mask - 1).long())


class FlaxCounted(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x + linen.Embed(6, 4, name="table")(jnp.broadcast_to(jnp.arange(x.shape[-2]), x.shape[:-1]))


def test_positions_that_are_counted_in_floats_are_not_moved_by_rounding() -> None:
    inputs = {"x": parity.normal(3, 5, 4), "target": parity.normal(3, 5, 4)}
    ports = bntorch.port(Counted(), loss=squared), bnjax.port(FlaxCounted(), loss=squared)
    report = parity.compare(*ports, inputs=inputs, questions=FORWARD)
    assert report.agrees, (report.findings, report.not_compared)


class Scaled(nn.Embedding):
    """As XGLM and BART: what is looked up is scaled within the module."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 3.0


class FlaxScaled(linen.Module):
    """It is scaled after the module."""

    scale: float = 3.0

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(4, name="1")(linen.Embed(6, 4, name="0")(x) * self.scale)


@pytest.mark.parametrize(("scale", "agrees"), [(3.0, True), (2.0, False)])
def test_what_one_side_does_in_a_module_the_other_may_do_after_it(scale: float, agrees: bool) -> None:
    inputs = {"x": parity.integers(3, 5, below=6), "target": parity.normal(3, 5, 4)}
    reference = bntorch.port(nn.Sequential(Scaled(6, 4), nn.Linear(4, 4)), loss=squared)
    report = parity.compare(reference, bnjax.port(FlaxScaled(scale), loss=squared), inputs=inputs, questions=FORWARD)
    assert report.agrees is agrees, report.findings


class Frozen(nn.Module):
    """As RoFormer: a table of angles is a parameter that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.table.weight = nn.Parameter(torch.sin(torch.arange(20.0)).reshape(5, 4), requires_grad=False)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x + self.table(torch.arange(x.shape[-2])))


class FlaxFrozen(linen.Module):
    """It computes the table."""

    scale: float = 1.0

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        table = jnp.asarray(np.sin(self.scale * np.arange(20.0)).reshape(5, 4))
        return linen.Dense(4, name="linear")(x + table[: x.shape[-2]])


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, "incomplete"), (1.1, "disagree")])
def test_a_frozen_table_may_be_computed_on_the_other_side(scale: float, verdict: str) -> None:
    inputs = {"x": parity.normal(3, 5, 4), "target": parity.normal(3, 5, 4)}
    ports = bntorch.port(Frozen(), loss=squared), bnjax.port(FlaxFrozen(scale), loss=squared)
    report = parity.compare(*ports, inputs=inputs, questions=FORWARD)
    assert report.verdict == verdict, (report.findings, report.not_compared)
    assert any("table.weight" in each for each in report.not_compared)
    assert [each.kind for each in report.findings] == ["forward"] * (verdict == "disagree")


class FlaxStopped(linen.Module):
    """As FlaxWhisper: it holds the table, and stops its gradient; or that of more."""

    is_all: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        table = jax.lax.stop_gradient(linen.Embed(5, 4, name="table")(jnp.arange(x.shape[-2])))
        x = linen.Dense(4, name="linear")(x + table)
        return jax.lax.stop_gradient(x) if self.is_all else x


@pytest.mark.parametrize("is_all", [False, True])
def test_what_one_side_has_frozen_the_other_may_stop(is_all: bool) -> None:
    inputs = {"x": parity.normal(3, 5, 4), "target": parity.normal(3, 5, 4)}
    ports = bntorch.port(Frozen(), loss=squared), bnjax.port(FlaxStopped(is_all), loss=squared)
    report = parity.compare(*ports, inputs=inputs, questions=FORWARD)
    assert report.agrees is not is_all, report.findings


class Tied(nn.Module):
    """As T5: one table in two places, and its tensor in a layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(6, 4)
        self.encoder = nn.ModuleDict({"words": self.shared})
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.shared.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder["words"](x))


def test_a_table_in_two_places_stays_tied() -> None:
    model = Tied()
    table = model.shared.weight
    port = bntorch.port(model, loss=squared)
    given = {"x": np.zeros((2, 3), int), "target": np.ones((2, 3, 6))}
    one, other = (port.play(given, Mode.TRAIN) for _ in range(2))
    assert model.shared.weight is table
    assert model.head.weight is table
    assert one.gradients.keys() == {"shared.weight"}
    assert one.loss == other.loss


class Attention(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
        return linen.MultiHeadDotProductAttention(2, dropout_rate=0.1)(x, deterministic=deterministic)


def test_a_candidate_that_draws_within_its_attention_is_told_so() -> None:
    port = bnjax.port(Attention())
    given = {"x": np.ones((1, 3, 4))}
    port.prepare(given)
    with pytest.raises(InputError, match="set its rate to 0"):
        port.play(given, Mode.TRAIN)
