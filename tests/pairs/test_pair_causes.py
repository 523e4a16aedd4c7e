"""Causes that are found by running one side with a convention changed: in modules, functions, losses and optimizers."""

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
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
from bntorch.conventions import CONVENTIONS as OF_MODELS
from bntorch.conventions.optimizers import Stepper, ways
from bntorch.specimens.optimizers import OPTIMIZERS
from parity.backend.convention import CONVENTIONS, FLOAT32_ISLAND
from parity.verdict.trace import Mode
from parity.verdict.verdict import UNEXPLAINED, Verdict

# What stands between the layers of the one, and of the other, which has a fault.
GELU = (lambda x: F.gelu(x).mean(1), lambda x: jax.nn.gelu(x).mean(1))
SLOPES = (lambda x: F.leaky_relu(x, 0.1).mean(1), lambda x: jax.nn.leaky_relu(x, 0.01).mean(1))
INPUTS = {"x": parity.normal(4, 5, 6), "labels": parity.integers(4, below=3)}


class TorchNet(nn.Module):
    """Something between two dense layers."""

    def __init__(self, between: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.head, self.between = nn.Linear(6, 6), nn.Linear(6, 3), between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.between(self.first(x)))


class FlaxNet(fnn.Module):
    between: Callable[[jax.Array], jax.Array]

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Dense(3, name="head")(self.between(fnn.Dense(6, name="first")(x)))


def compared(ours: Any, theirs: Any, is_reversed: bool = False) -> parity.CompareReport:
    ports: list[Any] = [
        bntorch.port(TorchNet(ours), loss=F.cross_entropy),
        bnjax.port(FlaxNet(theirs), loss=cross_entropy),
    ]
    return parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS, questions=("forced",))


def test_what_is_fitted_is_printed() -> None:
    ours, faulty = SLOPES
    (finding,) = compared(ours, faulty).findings
    assert finding.cause.evidence == "negative_slope of leaky_relu is 0.01; in the reference it is 0.1"
    assert finding.cause.remedy == "set negative_slope=0.1"


def test_what_the_reference_has_is_told_of_the_norm_that_is_off() -> None:
    """Two norms with other epsilons: the first one's says nothing of the second."""

    def ours(x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(torch.tanh(F.layer_norm(x, (6,), eps=1e-3)).mean(1), (6,), eps=1e-6)

    def theirs(x: jax.Array) -> jax.Array:
        norm: Callable[..., Any] = jax.nn.standardize
        return norm(jnp.tanh(norm(x, epsilon=1e-3)).mean(1), epsilon=1e-4)

    (finding,) = compared(ours, theirs).findings
    assert finding.cause.evidence == "epsilon is 0.0001; in the reference it is 1e-06"
    assert finding.cause.remedy == "set epsilon=1e-06"


def test_one_number_is_not_explained_by_another_that_is_fitted() -> None:
    """A loss that is off by a rule of its own: some label smoothing gives any loss, and other gradients."""
    reference = bntorch.port(TorchNet(lambda x: x.mean(1)), loss=F.cross_entropy)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return cross_entropy(logits, labels) + 0.01 * (logits[:, 0] ** 2).mean()

    candidate = bnjax.port(FlaxNet(lambda x: x.mean(1)), loss=loss)
    (finding,) = parity.compare(reference, candidate, inputs=INPUTS, questions=("forced",)).findings
    assert (finding.reference, finding.cause.name) == ("the loss", UNEXPLAINED)


def test_two_causes_at_one_place_are_not_named() -> None:
    ours, _ = GELU
    (finding,) = compared(ours, lambda x: 1.5 * jax.nn.gelu(x).mean(1)).findings
    assert finding.cause.name == UNEXPLAINED


def test_an_accepted_difference_of_a_function_is_accepted_backward_as_well() -> None:
    ours, faulty = GELU
    ports: tuple[Any, Any] = (
        bntorch.port(TorchNet(ours), loss=F.cross_entropy),
        bnjax.port(FlaxNet(faulty), loss=cross_entropy),
    )
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",), accept=["gelu_form@head"])
    assert [dict(each)["seen"] for each in report.accepted] == [["head"]]
    assert report.verdict is Verdict.AGREE, report.findings


def test_an_accepted_difference_does_not_cover_another_there() -> None:
    ours, _ = GELU
    ports: tuple[Any, Any] = (
        bntorch.port(TorchNet(ours), loss=F.cross_entropy),
        bnjax.port(FlaxNet(lambda x: jax.nn.gelu(x).max(1)), loss=cross_entropy),
    )
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",), accept=["gelu_form"])
    assert report.verdict is Verdict.DISAGREE
    assert any(finding.kind == "forward" for finding in report.findings)


def test_every_convention_that_can_be_changed_is_told() -> None:
    made = (Stepper.of(each([nn.Parameter(torch.ones(2))])) for each in OPTIMIZERS.values())
    of_optimizers = {name for each in made for name, _ in ways(each)}
    assert OF_MODELS.keys() | of_optimizers | {FLOAT32_ISLAND} == CONVENTIONS.keys()


def test_a_model_is_as_it_was_after_it_was_changed() -> None:
    port = bntorch.port(TorchNet(GELU[0]), loss=F.cross_entropy)
    batch = {"x": np.ones((4, 5, 6)), "labels": np.zeros(4, int)}
    before = port.play(batch, Mode.TRAIN)
    for option in port.options(batch, Mode.TRAIN):
        port.play(batch, Mode.TRAIN, change=option.change)
    after = port.play(batch, Mode.TRAIN)
    assert before.loss == after.loss
