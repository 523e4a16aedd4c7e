"""Causes that are found by running one side with a convention changed: in modules, functions, losses and optimizers."""

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from kinds.losses import cross_entropy
from torch import nn

import bnjax
import bntorch
import parity
from bntorch.conventions import CONVENTIONS as OF_MODELS
from bntorch.optimizer_conventions import ways
from parity.backend.convention import CONVENTIONS
from parity.verdict.trace import Mode
from parity.verdict.verdict import UNEXPLAINED, Verdict

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


def softmax(x: jax.Array) -> jax.Array:
    return jax.nn.softmax(x, -1).mean(1)


def mixed(join: Callable[..., Any], q: Any, k: Any, v: Any) -> Any:
    return join([q * k, k * v, v], -1)


# By cause: what the two do between their layers, in three forms: PyTorch's, the same in JAX, and JAX's faulty one.
BETWEEN: dict[str, tuple[Any, Any, Any]] = {
    "gelu_form": (
        lambda x: F.gelu(x).mean(1),
        lambda x: jax.nn.gelu(x, False).mean(1),
        lambda x: jax.nn.gelu(x).mean(1),
    ),
    "activation_slope": (
        lambda x: F.leaky_relu(x, 0.1).mean(1),
        lambda x: jax.nn.leaky_relu(x, 0.1).mean(1),
        lambda x: jax.nn.leaky_relu(x, 0.01).mean(1),
    ),
    "other_activation": (
        lambda x: F.silu(x).mean(1),
        lambda x: jax.nn.silu(x).mean(1),
        lambda x: jax.nn.gelu(x, False).mean(1),
    ),
    "missing_module": (lambda x: torch.tanh(x).mean(1), lambda x: jnp.tanh(x).mean(1), lambda x: x.mean(1)),
    "softmax_axis": (lambda x: x.softmax(-1).mean(1), softmax, lambda x: jax.nn.softmax(x, 1).mean(1)),
    "attention_scale": (lambda x: x.softmax(-1).mean(1), softmax, lambda x: jax.nn.softmax(x / 4, -1).mean(1)),
    "standard_deviation": (lambda x: x.std(1), lambda x: x.std(1, ddof=1), lambda x: x.std(1)),
    "pool_kind": (lambda x: x.mean(1), lambda x: x.mean(1), lambda x: x.max(1)),
    "taken_position": (lambda x: x[:, 0], lambda x: x[:, 0], lambda x: x[:, -1]),
    "missing_residual": (
        lambda x: (x + torch.tanh(x)).mean(1),
        lambda x: (x + jnp.tanh(x)).mean(1),
        lambda x: jnp.tanh(x).mean(1),
    ),
    "missing_scale": (lambda x: (x * 6**0.5).mean(1), lambda x: (x * 6**0.5).mean(1), lambda x: x.mean(1)),
    "extra_scale": (lambda x: x.mean(1), lambda x: x.mean(1), lambda x: 3 * x.mean(1)),
    "mask_polarity": (
        lambda x: torch.where(torch.arange(5)[:, None] < 2, x, 0.0).sum(1),
        lambda x: jnp.where(jnp.arange(5)[:, None] < 2, x, 0.0).sum(1),
        lambda x: jnp.where(jnp.arange(5)[:, None] < 2, 0.0, x).sum(1),
    ),
    "causal_offset": (
        lambda x: (torch.ones(5, 5, dtype=x.dtype).tril() @ x).mean(1),
        lambda x: (jnp.tril(jnp.ones((5, 5))) @ x).mean(1),
        lambda x: (jnp.tril(jnp.ones((5, 5)), -1) @ x).mean(1),
    ),
    "qkv_order": (
        lambda x: mixed(torch.cat, *x.chunk(3, -1)).mean(1),
        lambda x: mixed(jnp.concatenate, *jnp.split(x, 3, -1)).mean(1),
        lambda x: mixed(jnp.concatenate, *reversed(jnp.split(x, 3, -1))).mean(1),
    ),
    "norm_epsilon": (  # of a norm that is written by hand
        lambda x: (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)).mean(1),
        lambda x: (x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6)).mean(1),
        lambda x: (x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-5)).mean(1),
    ),
}


def compared(ours: Any, theirs: Any, is_reversed: bool = False) -> parity.CompareReport:
    ports: list[Any] = [
        bntorch.port(TorchNet(ours), loss=F.cross_entropy),
        bnjax.port(FlaxNet(theirs), loss=cross_entropy),
    ]
    return parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS, questions=("forced",))


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("cause", BETWEEN)
def test_a_cause_is_named_whichever_side_is_the_reference(cause: str, is_reversed: bool) -> None:
    ours, honest, faulty = BETWEEN[cause]
    if not is_reversed:
        assert compared(ours, honest).verdict is Verdict.AGREE
    (finding,) = compared(ours, faulty, is_reversed).findings
    assert (finding.cause.name, finding.kind) == (cause, "forward"), finding.cause
    assert finding.cause.evidence
    assert finding.cause.remedy


def test_what_is_fitted_is_printed() -> None:
    ours, _, faulty = BETWEEN["activation_slope"]
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


def test_how_much_labels_are_smoothed_is_found() -> None:
    reference = bntorch.port(TorchNet(lambda x: x.mean(1)), loss=F.cross_entropy)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        smooth = optax.smooth_labels(jax.nn.one_hot(labels, 3), 0.1)
        return optax.softmax_cross_entropy(logits, smooth).mean()

    candidate = bnjax.port(FlaxNet(lambda x: x.mean(1)), loss=loss)
    (finding,) = parity.compare(reference, candidate, inputs=INPUTS, questions=("forced",)).findings
    assert finding.cause.name == "label_smoothing"
    assert finding.cause.evidence == "label_smoothing is 0.1; in the reference 0"


def test_two_causes_at_one_place_are_not_named() -> None:
    ours, _, _ = BETWEEN["gelu_form"]
    (finding,) = compared(ours, lambda x: 1.5 * jax.nn.gelu(x).mean(1)).findings
    assert finding.cause.name == UNEXPLAINED


def test_an_accepted_difference_of_a_function_is_accepted_backward_as_well() -> None:
    ours, _, faulty = BETWEEN["gelu_form"]
    ports: tuple[Any, Any] = (
        bntorch.port(TorchNet(ours), loss=F.cross_entropy),
        bnjax.port(FlaxNet(faulty), loss=cross_entropy),
    )
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",), accept=["gelu_form@head"])
    assert [dict(each)["seen"] for each in report.accepted] == [["head"]]
    assert report.verdict is Verdict.AGREE, report.findings


def test_an_accepted_difference_does_not_cover_another_there() -> None:
    ours, _, _ = BETWEEN["gelu_form"]
    ports: tuple[Any, Any] = (
        bntorch.port(TorchNet(ours), loss=F.cross_entropy),
        bnjax.port(FlaxNet(lambda x: jax.nn.gelu(x).max(1)), loss=cross_entropy),
    )
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",), accept=["gelu_form"])
    assert report.verdict is Verdict.DISAGREE
    assert any(finding.kind == "forward" for finding in report.findings)


def sgd(**options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, 0.1, **options)


def adam(**options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.Adam(parameters, 0.01, **options)


OPTIMIZERS: dict[str, tuple[str, Any, Any]] = {
    "the rate": ("learning_rate", sgd(), optax.sgd(0.11)),
    "momentum": ("optimizer_momentum", sgd(momentum=0.9), optax.sgd(0.1, momentum=0.8)),
    "Nesterov": ("nesterov_form", sgd(momentum=0.9), optax.sgd(0.1, momentum=0.9, nesterov=True)),
    "dampening": ("sgd_dampening", sgd(momentum=0.9, dampening=0.1), optax.sgd(0.1, momentum=0.9)),
    "a clip": ("missing_clip", sgd(), optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(0.1))),
    "Adam's epsilon": ("optimizer_epsilon", adam(), optax.adam(0.01, eps=1e-6)),
    "Adam's second average": ("adam_betas", adam(), optax.adam(0.01, b2=0.99)),
    "decay in the gradient": ("weight_decay", adam(weight_decay=0.1), optax.adamw(0.01, weight_decay=0.1)),
    "AdamW's decay": ("weight_decay", lambda p: torch.optim.AdamW(p, 0.01), optax.adamw(0.01)),
    "RMSprop's epsilon": (
        "rmsprop_epsilon",
        lambda p: torch.optim.RMSprop(p, 0.1, alpha=0.9),
        optax.rmsprop(0.1, decay=0.9),
    ),
    "Adagrad": ("adagrad_defaults", lambda p: torch.optim.Adagrad(p, 0.1), optax.adagrad(0.1)),
}


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_does_otherwise_is_named(name: str, is_reversed: bool) -> None:
    cause, ours, theirs = OPTIMIZERS[name]
    ports: list[Any] = [
        bntorch.port(TorchNet(lambda x: x.mean(1)), loss=F.cross_entropy, optimizer=ours),
        bnjax.port(FlaxNet(lambda x: x.mean(1)), loss=cross_entropy, optimizer=theirs),
    ]
    ports = ports[::-1] if is_reversed else ports
    (finding,) = parity.compare(*ports, inputs=INPUTS, questions=("optimizer",)).findings
    assert (finding.kind, finding.cause.name) == ("update", cause), finding.cause


def test_every_convention_that_can_be_changed_is_told() -> None:
    parameters = [nn.Parameter(torch.ones(2))]
    made = [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam]
    of_optimizers = {name for each in made for name, _ in ways(each(parameters, lr=0.1))}
    assert OF_MODELS.keys() | of_optimizers == CONVENTIONS.keys()


def test_a_model_is_as_it_was_after_it_was_changed() -> None:
    port = bntorch.port(TorchNet(BETWEEN["gelu_form"][0]), loss=F.cross_entropy)
    batch = {"x": np.ones((4, 5, 6)), "labels": np.zeros(4, int)}
    before = port.play(batch, Mode.TRAIN)
    for option in port.options(batch, Mode.TRAIN):
        port.play(batch, Mode.TRAIN, change=option.change)
    after = port.play(batch, Mode.TRAIN)
    assert before.loss == after.loss
