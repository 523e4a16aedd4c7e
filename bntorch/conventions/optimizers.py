"""Conventions of optimizers that libraries have otherwise, and an optimizer that steps with one of them changed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bntorch.conventions.calls import Way
from parity.backend.convention import Change, Option

# The hyperparameters of PyTorch's optimizers that are numbers: the names of the causes, and how optax has them.
NUMBERS = {
    "lr": ("learning_rate", "set learning_rate={:g}"),
    "momentum": ("optimizer_momentum", "set momentum={:g}"),
    "dampening": (
        "sgd_dampening",
        "optax has no dampening of {:g}: write the trace yourself, or accept the difference",
    ),
    "weight_decay": ("weight_decay", "set weight_decay={:g}"),
    "eps": ("optimizer_epsilon", "set eps={:g}"),
    "lr_decay": ("adagrad_defaults", "use a schedule with a decay of {:g}"),
    "momentum_decay": ("nadam_schedule", "use a momentum schedule with a decay of {:g}"),
}
FLAGS = {
    "nesterov": ("nesterov_form", "nesterov"),
    "amsgrad": ("amsgrad", "amsgrad"),
    "decoupled_weight_decay": ("weight_decay", "decoupled weight decay, as adamw"),
    "centered": ("rmsprop_decay", "centered"),
}
Step = Callable[[Sequence[Tensor]], None]


def ways(optimizer: Optimizer) -> Iterator[tuple[str, Way]]:
    """Yield the names of what may be otherwise in an optimizer, and how; a way returns what takes its steps."""
    group = optimizer.param_groups[0]
    for key, (name, optax) in NUMBERS.items():
        if isinstance(group.get(key), int | float) and not isinstance(group[key], bool):
            for own in dict.fromkeys(float(each[key]) for each in optimizer.param_groups):
                yield name, _number(optimizer, key, own, optax)
    for number, own in enumerate(group.get("betas", ())):
        yield "adam_betas", _beta(optimizer, number, float(own))
    if "alpha" in group:
        yield "rmsprop_decay", _alpha(optimizer)
    for key, (name, optax) in FLAGS.items():
        if isinstance(group.get(key), bool):
            yield name, _flag(optimizer, key, optax)
    yield "missing_clip", _clip(optimizer)
    if isinstance(optimizer, torch.optim.RMSprop) and not group["centered"] and not group["momentum"]:
        yield "rmsprop_epsilon", _epsilon_in_root(optimizer)
    if isinstance(optimizer, torch.optim.Adagrad):
        yield "adagrad_defaults", _adagrad_of_optax(optimizer)
    if isinstance(optimizer, torch.optim.NAdam):
        yield "nadam_schedule", _nadam_of_optax(optimizer)


def options(optimizer: Optimizer) -> tuple[Option, ...]:
    """Return what an optimizer may do otherwise."""
    return tuple(way.option(name) for name, way in ways(optimizer))


def changed(optimizer: Optimizer, change: Change | None) -> Step:
    """Return what takes an optimizer's steps, with a convention changed."""

    def step(parameters: Sequence[Tensor]) -> None:
        optimizer.step()

    if change is None:
        return step
    way = next(way for name, way in ways(optimizer) if (name, way.whole_key) == change[:2])
    made = way.run() if way.start is None else way.run(change.value)
    return made or step


def _set(optimizer: Optimizer, key: str, value: Any) -> None:
    for group in optimizer.param_groups:
        group[key] = value


def _number(optimizer: Optimizer, key: str, own: float, optax: str) -> Way:
    """A number of those groups of parameters that have it."""

    def run(value: float) -> None:
        for group in optimizer.param_groups:
            group[key] = value if group[key] == own else group[key]

    return Way(
        key, f"it is {own:g}", f"{key} is {{value:g}}", run, own,
        jax=optax.format(own), torch=f"set {key}={own:g}", torch_other=f"set {key}={{value:g}}",
    )  # fmt: skip


def _beta(optimizer: Optimizer, number: int, own: float) -> Way:
    """The decay of an average, which is near 1: what is fitted is how far from it."""

    def run(rest: float) -> None:
        betas = list(optimizer.param_groups[0]["betas"])
        betas[number] = 1 - min(max(rest, 0.0), 1.0)
        _set(optimizer, "betas", tuple(betas))

    words = f"beta {number + 1}"
    return Way(
        words, f"it is {own:g}", f"{words} is {{rest:g}}", run, 1 - own, jax=f"set b{number + 1}={own:g}",
        torch=f"set {words} to {own:g}", torch_other=f"set {words} to {{rest:g}}",
    )  # fmt: skip


def _alpha(optimizer: Optimizer) -> Way:
    own = float(optimizer.param_groups[0]["alpha"])
    return Way(
        "alpha", f"it is {own:g}", "alpha is {rest:g}",
        lambda rest: _set(optimizer, "alpha", 1 - min(max(rest, 0.0), 1.0)), 1 - own,
        jax=f"set decay={own:g}", torch=f"set alpha={own:g}", torch_other="set alpha={rest:g}",
    )  # fmt: skip


def _flag(optimizer: Optimizer, key: str, optax: str) -> Way:
    own = bool(optimizer.param_groups[0][key])
    return Way(
        key, f"it is {own}", f"{key} is {not own}", lambda: _set(optimizer, key, not own),
        jax=f"{'use' if own else 'do not use'} {optax}", torch=f"set {key}={own}", torch_other=f"set {key}={not own}",
    )  # fmt: skip


def _clip(optimizer: Optimizer) -> Way:
    """All gradients together are made no larger than a norm, as optax does it: by the norm itself."""

    def run(largest: float) -> Step:
        def step(parameters: Sequence[Tensor]) -> None:
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = torch.stack([each.square().sum() for each in gradients]).sum().sqrt()
            if norm > largest:
                for each in gradients:
                    each.mul_(largest / norm)
            optimizer.step()

        return step

    return Way(
        "global norm", "they are not", "gradients are clipped to a global norm of {value:g}", run, FIRST_NORM,
        jax="leave clip_by_global_norm out", torch="do not clip", torch_other="clip to a norm of {value:g}",
    )  # fmt: skip


FIRST_NORM = 10.0


def _epsilon_in_root(optimizer: Optimizer) -> Way:
    group = optimizer.param_groups[0]

    def run() -> Step:
        averages: dict[int, Tensor] = {}

        def step(parameters: Sequence[Tensor]) -> None:
            with torch.no_grad():
                for number, p in enumerate(parameters):
                    if p.grad is None:
                        continue
                    g = p.grad + group["weight_decay"] * p
                    old = averages.get(number, torch.zeros_like(p))
                    averages[number] = group["alpha"] * old + (1 - group["alpha"]) * g.square()
                    p.sub_(group["lr"] * g / (averages[number] + group["eps"]).sqrt())

        return step

    return Way(
        "in the root", "after it", "epsilon is added before the square root", run,
        jax="set eps_in_sqrt=False", torch="use torch.optim.RMSprop", torch_other="add epsilon before the square root",
    )  # fmt: skip


def _adagrad_of_optax(optimizer: Optimizer) -> Way:
    rate = optimizer.param_groups[0]["lr"]

    def run() -> Step:
        sums: dict[int, Tensor] = {}

        def step(parameters: Sequence[Tensor]) -> None:
            with torch.no_grad():
                for number, p in enumerate(parameters):
                    if p.grad is not None:
                        sums[number] = sums.get(number, torch.full_like(p, 0.1)) + p.grad.square()
                        p.sub_(rate * p.grad * (sums[number] + 1e-7).rsqrt())

        return step

    return Way(
        "optax", "they begin at 0, with 1e-10 after the root",
        "Adagrad's sums begin at 0.1, with an epsilon of 1e-7 in the root, as optax has it", run,
        jax="set initial_accumulator_value=0 and eps=1e-20", torch="use torch.optim.Adagrad",
        torch_other="let the sums begin at 0.1, and add 1e-7 before the root",
    )  # fmt: skip


def _nadam_of_optax(optimizer: Optimizer) -> Way:
    group = optimizer.param_groups[0]
    rate, (b1, b2), eps = group["lr"], group["betas"], group["eps"]

    def run() -> Step:
        averages: dict[int, tuple[Tensor, Tensor, int]] = {}

        def step(parameters: Sequence[Tensor]) -> None:
            with torch.no_grad():
                for number, p in enumerate(parameters):
                    if p.grad is None:
                        continue
                    mean, square, count = averages.get(number, (torch.zeros_like(p), torch.zeros_like(p), 0))
                    mean, square, count = b1 * mean + (1 - b1) * p.grad, b2 * square + (1 - b2) * p.grad**2, count + 1
                    averages[number] = mean, square, count
                    ahead = b1 * mean / (1 - b1 ** (count + 1)) + (1 - b1) * p.grad / (1 - b1**count)
                    p.sub_(rate * ahead / ((square / (1 - b2**count)).sqrt() + eps))

        return step

    return Way(
        "optax", "it grows from step to step", "the momentum that looks ahead is the same in every step, as in optax",
        run, jax="write the schedule of the momentum yourself, or accept the difference", torch="use torch.optim.NAdam",
        torch_other="use the same momentum in every step",
    )  # fmt: skip
