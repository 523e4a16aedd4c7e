"""Forms of optimizers and schedules: what they need, what surrounds a step, and what is stored in float32."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim import lr_scheduler

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from bntorch.conventions.optimizers import Stepper, changed, options
from parity.pair.findings import FindingKind
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(4, 6), "labels": parity.integers(4, below=3)}


def compared(ours: Any, theirs: Any, is_reversed: bool = False) -> parity.CompareReport:
    ports: list[Any] = [
        bntorch.port(nn.Linear(6, 3), loss=F.cross_entropy, optimizer=ours),
        bnjax.port(fnn.Dense(3), loss=cross_entropy, optimizer=theirs),
    ]
    return parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS, questions=("optimizer",))


def scheduled(made: Callable[[Any], lr_scheduler.LRScheduler], **given: Any) -> Any:
    def optimizer(parameters: Any) -> Any:
        own = optim.AdamW(parameters, 0.1, **given)
        return own, made(own)

    return optimizer


def wide(count: Any) -> jax.Array:
    return jnp.asarray(count, jnp.float64)


def clipped(parameters: Iterable[Any]) -> optim.Optimizer:
    held = list(parameters)
    made = optim.SGD(held, 0.1, weight_decay=0.1)

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(held, 50.0)

    made.register_step_pre_hook(clip)
    return made


def halves(made: optim.Optimizer) -> lr_scheduler.LRScheduler:
    both = [lr_scheduler.ConstantLR(made, 1.0, 1), lr_scheduler.ExponentialLR(made, 0.5)]
    return lr_scheduler.SequentialLR(made, both, [2])


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (optim.LBFGS, "LBFGS, whose step needs closure"),
        (scheduled(lr_scheduler.ReduceLROnPlateau), "ReduceLROnPlateau, whose step needs metrics"),
    ],
)
def test_what_needs_more_than_gradients_is_bad_input_on_both_sides(made: Any, words: str, is_reversed: bool) -> None:
    with pytest.raises(parity.InputError, match=words):
        compared(made, optax.sgd(0.1), is_reversed)


def test_a_clip_beside_a_weight_decay_is_named() -> None:
    theirs = optax.chain(optax.clip_by_global_norm(50.0), optax.add_decayed_weights(0.1), optax.sgd(0.1))
    (finding,) = compared(clipped, theirs).findings
    assert finding.cause.name == "clip_epsilon"


@pytest.mark.parametrize(
    ("schedule", "theirs", "cause"),
    [
        (lambda made: lr_scheduler.LambdaLR(made, lambda n: n / 4), lambda n: 0.05 * n, "learning_rate"),
        (halves, lambda n: 0.2 * 0.5 ** jnp.maximum(n - 2.0, 0), "learning_rate"),
    ],
)
def test_a_rate_is_named_under_any_schedule(schedule: Any, theirs: Any, cause: str) -> None:
    ours = scheduled(schedule, weight_decay=0.1)
    steps = optax.adamw(lambda count: theirs(wide(count)), weight_decay=0.1)
    (finding,) = compared(ours, steps).findings
    assert (finding.cause.name, finding.cause.evidence) == (cause, "lr is 0.2; in the reference it is 0.1")


def test_what_decays_is_named_under_a_schedule() -> None:
    ours = scheduled(lambda made: lr_scheduler.LambdaLR(made, lambda n: 1 / (n + 1)), weight_decay=0.1)
    theirs = optax.adamw(
        lambda count: 0.1 / (wide(count) + 1),
        weight_decay=0.1,
        mask=lambda parameters: jax.tree.map(lambda each: each.ndim > 1, parameters),
    )
    (finding,) = compared(ours, theirs).findings
    assert finding.cause.name == "weight_decay_mask"


def test_a_rate_that_a_step_ahead_shows_as_well_is_told() -> None:
    ours = scheduled(lambda made: lr_scheduler.ExponentialLR(made, 0.5), weight_decay=0.0)
    (finding,) = compared(ours, optax.adam(lambda count: 0.05 * 0.5 ** wide(count))).findings
    assert finding.cause.name == "schedule_offset"
    assert "or learning_rate: lr is 0.05; in the reference it is 0.1" in finding.cause.evidence


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: optim.SGD(p, 0.1), optax.sgd(jnp.float32(0.1))),
        (lambda p: optim.SGD(p, torch.tensor(0.1)), optax.sgd(0.1)),
    ],
)
def test_a_rate_that_is_stored_in_float32_is_no_fault(ours: Any, theirs: Any, is_reversed: bool) -> None:
    report = compared(ours, theirs, is_reversed)
    assert (report.verdict, report.findings) == (Verdict.INCOMPLETE, ())
    assert [each["dtype"] for each in report.islands] == ["float32"]


def test_a_larger_fault_beside_a_rate_that_is_stored_in_float32_is_one() -> None:
    assert compared(lambda p: optim.SGD(p, torch.tensor(0.1)), optax.sgd(0.1001)).verdict is Verdict.DISAGREE


def in_groups(kind: Any, *given: dict[str, Any]) -> Any:
    return lambda parameters: kind([{"params": [p], **each} for p, each in zip(parameters, given, strict=True)], 0.01)


def apart(matrix: Any, vector: Any) -> Any:
    return optax.multi_transform(
        {"matrix": matrix, "vector": vector},
        lambda parameters: jax.tree.map(lambda each: "matrix" if each.ndim > 1 else "vector", parameters),
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "evidence"),
    [
        (
            in_groups(optim.Adam, {"betas": (0.9, 0.99)}, {"betas": (0.8, 0.9)}),
            apart(optax.adam(0.01, b2=0.99), optax.adam(0.01, b1=0.7, b2=0.9)),
            "beta 1 is 0.7; in the reference it is 0.8",
        ),
        (
            in_groups(optim.RMSprop, {"alpha": 0.9}, {"alpha": 0.8}),
            apart(optax.rmsprop(0.01, decay=0.9, eps_in_sqrt=False), optax.rmsprop(0.01, decay=0.7, eps_in_sqrt=False)),
            "alpha is 0.7; in the reference it is 0.8",
        ),
    ],
)
def test_a_decay_is_that_of_its_group(ours: Any, theirs: Any, evidence: str) -> None:
    (finding,) = compared(ours, theirs).findings
    assert finding.cause.evidence == evidence


def test_an_optimizer_that_cannot_be_computed_in_float64_does_not_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise TypeError

    monkeypatch.setattr(sys.modules["bnjax.port"], "lifted_function", refused)
    theirs = optax.sgd(lambda count: 0.2 / (jnp.asarray(count, jnp.float32) + 3))
    (finding,) = compared(lambda p: optim.SGD(p, 0.1), theirs).findings
    assert finding.kind is FindingKind.UPDATE


def steps_of(made: optim.Optimizer, parameter: nn.Parameter, name: str) -> np.ndarray[Any, Any]:
    """A parameter after a step with the first of an optimizer's options of a name; "" for none."""
    stepper = Stepper.of(made)
    change = next((each.change for each in options(stepper) if each.change.name == name), None)
    assert change is not None or not name
    changed(stepper, change)([parameter])
    return parameter.detach().numpy()


def test_a_step_by_hand_is_clipped_and_followed_as_the_optimizers_own_is() -> None:
    parameter, called = nn.Parameter(torch.ones(2)), []
    parameter.grad = torch.ones(2)
    made = optim.Adam([parameter], 0.1)
    made.register_step_pre_hook(lambda *_: called.append("before"))
    made.register_step_post_hook(lambda *_: called.append("after"))
    steps_of(made, parameter, "adam_epsilon")
    assert called == ["before", "after"]


def test_what_adadelta_adds_is_no_epsilon_of_a_clip() -> None:
    found = []
    for name in ("", "clip_epsilon"):
        parameter = nn.Parameter(torch.ones(2, dtype=torch.float64))
        parameter.grad = torch.full_like(parameter, 1e-3)
        made = optim.Adadelta([parameter], eps=1e-6)
        made.register_step_pre_hook(lambda *_: None)
        found.append(steps_of(made, parameter, name))
    assert np.array_equal(*found)
