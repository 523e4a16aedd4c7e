"""Optimizers side by side: schedules, hooks and averages of PyTorch, and what optax computes in float32."""

from typing import Any

import flax.linen as fnn
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.pair.findings import FindingKind
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(4, 6), "labels": parity.integers(4, below=3)}
HALVED = optax.exponential_decay(0.1, 1, 0.5)  # which optax computes in float32, also in a run of float64


def halved(parameters: Any) -> tuple[optim.Optimizer, Any]:
    made = optim.SGD(parameters, 0.1, momentum=0.9)
    return made, optim.lr_scheduler.ExponentialLR(made, 0.5)


def compared(ours: Any, theirs: Any, is_reversed: bool = False, **options: Any) -> parity.CompareReport:
    ports: list[Any] = [
        bntorch.port(nn.Linear(6, 3), loss=F.cross_entropy, optimizer=ours),
        bnjax.port(fnn.Dense(3), loss=cross_entropy, optimizer=theirs),
    ]
    options.setdefault("questions", ("optimizer",))
    return parity.compare(*(ports[::-1] if is_reversed else ports), inputs=INPUTS, **options)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_schedule_agrees_with_one_of_optax_that_is_lifted(is_reversed: bool) -> None:
    report = compared(halved, optax.sgd(HALVED, momentum=0.9), is_reversed, lift_float32=True)
    assert report.verdict is Verdict.AGREE, report.findings
    assert report.islands == ()


@pytest.mark.parametrize("is_reversed", [False, True])
def test_what_optax_computes_in_float32_is_told_and_is_no_fault(is_reversed: bool) -> None:
    report = compared(halved, optax.sgd(HALVED, momentum=0.9), is_reversed)
    assert (report.verdict, report.findings) == (Verdict.INCOMPLETE, ())
    (words,) = [each for each in report.not_compared if each.startswith("update")]
    assert "entirely where all is computed in float64" in words
    assert {each["side"] for each in report.islands} == {"reference" if is_reversed else "candidate"}


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("rate", "cause"),
    [
        (lambda count: HALVED(count + 1), "schedule_offset"),
        (lambda count: 2 * HALVED(count), "learning_rate"),
        (lambda count: HALVED(2 * count), "unexplained"),
    ],
)
def test_a_fault_beside_float32_is_a_fault(rate: Any, cause: str, is_reversed: bool) -> None:
    (finding,) = compared(halved, optax.sgd(rate, momentum=0.9), is_reversed).findings
    assert (finding.kind, finding.cause.name) == (FindingKind.UPDATE, cause)


def test_a_schedule_is_stepped_after_each_step() -> None:
    port = bntorch.port(nn.Linear(1, 1, bias=False), optimizer=halved)
    port.load({"weight": np.zeros((1, 1))})
    first, second, third = (each["weight"].item() for each in port.optimize([{"weight": np.ones((1, 1))}] * 3))
    # Momentum 0.9 of gradients that are 1.
    assert [first, second - first, third - second] == pytest.approx([-0.1, -0.05 * 1.9, -0.025 * 2.71])


@pytest.mark.parametrize("made", [None, 3, (1, 2, 3), ("no", None)])
def test_what_is_no_optimizer_is_one_line(made: Any) -> None:
    with pytest.raises(parity.InputError, match=r"must give an optimizer, or \(optimizer, schedule\)"):
        compared(lambda p: made, optax.sgd(0.1))


def one_cycle(parameters: Any, steps: int = 20) -> tuple[optim.Optimizer, Any]:
    """A schedule of the rate and of the momentum."""
    made = optim.SGD(parameters, 0.1, momentum=0.9)
    return made, optim.lr_scheduler.OneCycleLR(made, 0.1, total_steps=steps)


def test_a_schedule_of_too_few_steps_is_one_line() -> None:
    with pytest.raises(parity.InputError, match=r"a OneCycleLR that cannot take as many steps .*; give one of more"):
        compared(lambda p: one_cycle(p, 3), optax.sgd(0.1))


@pytest.mark.parametrize(("late", "cause"), [(0, None), (1, "schedule_offset")])
def test_a_schedule_of_rate_and_momentum_may_be_a_step_behind(late: int, cause: str | None) -> None:
    made, schedule = one_cycle([nn.Parameter(torch.zeros(1))])
    numbers: dict[str, list[float]] = {"lr": [], "momentum": []}
    for _ in range(20):
        for key, seen in numbers.items():
            seen.append(made.param_groups[0][key])
        made.step()
        schedule.step()

    def at(key: str) -> Any:
        return lambda count: jnp.asarray(numbers[key])[jnp.maximum(count - late, 0)]

    theirs = optax.inject_hyperparams(optax.sgd, hyperparam_dtype=jnp.dtype("float64"))(at("lr"), at("momentum"))
    report = compared(one_cycle, theirs, lift_float32=True)
    assert [each.cause.name for each in report.findings] == [cause] * late


def test_a_rate_that_is_a_tensor_is_named() -> None:
    rate = torch.tensor(0.1, dtype=torch.float64)
    (finding,) = compared(lambda p: optim.SGD(p, rate), optax.sgd(0.2)).findings
    assert finding.cause.name == "learning_rate"
    assert finding.cause.evidence.startswith("lr is 0.2;")


def test_a_convention_of_some_parameters_is_named() -> None:
    def some(parameters: Any) -> optim.Optimizer:
        weight, bias = parameters
        return optim.SGD([{"params": [bias]}, {"params": [weight], "nesterov": True}], 0.1, momentum=0.9)

    (finding,) = compared(some, optax.sgd(0.1, momentum=0.9)).findings
    assert finding.cause.name == "nesterov_form"


def clipped(parameters: Any) -> None:
    torch.nn.utils.clip_grad_value_(parameters, 0.5)


def centered(parameters: Any) -> None:
    for each in parameters:
        each.grad -= each.grad.mean()


@pytest.mark.parametrize(("change", "cause"), [(clipped, "missing_clip"), (centered, "unexplained")])
def test_what_clips_before_a_step_is_a_clip_and_nothing_else_is(change: Any, cause: str) -> None:
    def hooked(parameters: Any) -> optim.Optimizer:
        parameters = list(parameters)
        made = optim.SGD(parameters, 0.1)
        made.register_step_pre_hook(lambda *_: change(parameters))
        return made

    assert {each.cause.name for each in compared(hooked, optax.sgd(0.1)).findings} == {cause}
