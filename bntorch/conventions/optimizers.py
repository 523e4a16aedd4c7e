"""Conventions of optimizers that libraries have otherwise, and an optimizer that steps with one of them changed."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.overrides import TorchFunctionMode

from bntorch.conventions import optimizer_steps
from bntorch.conventions.calls import Way
from bntorch.conventions.optimizer_steps import Step
from parity.backend.convention import Change, Option
from parity.errors import InputError

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
OF_SCHEDULES = ("lr", "momentum", "betas")  # which a schedule may set, as OneCycleLR does
FIRST_NORM = 10.0  # from which one that clips is solved for
CLIP_EPSILON = 1e-6  # of `torch.nn.utils.clip_grad_norm_`


@dataclass(frozen=True)
class Stepper:
    """What takes steps.

    Args:
        optimizer: of PyTorch.
        schedule: of its rate, if it has one; it is stepped after the optimizer.
    """

    optimizer: Optimizer
    schedule: LRScheduler | None = None

    @classmethod
    def of(cls, made: Any) -> "Stepper":
        """Read what a user's function gives: an optimizer, or that and its schedule.

        Raises:
            InputError: it is neither, or its steps need more than gradients.
        """
        both: Any = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        optimizer, schedule = both
        if not hasattr(optimizer, "step") or not (schedule is None or hasattr(schedule, "step")):
            raise InputError(f"optimizer gave {made!r:.80}; it must give an optimizer, or (optimizer, schedule)")
        for each in (optimizer, schedule):
            if each is not None and (needed := _needed(each.step)):
                raise InputError(
                    f"optimizer gave {type(each).__name__}, whose step needs {needed}; steps are compared that need "
                    "gradients alone: give another, or leave the optimizer out"
                )
        return cls(optimizer, schedule)

    def step(self, parameters: Sequence[Tensor]) -> None:
        """Take one step with the gradients that are there."""
        self.optimizer.step()
        self.step_schedule()

    def step_schedule(self) -> None:
        """Step the schedule, if there is one.

        Raises:
            InputError: it has no more steps, as OneCycleLR after its last.
        """
        if self.schedule is None:
            return
        try:
            with warnings.catch_warnings():  # it asks whether the optimizer has stepped
                warnings.simplefilter("ignore")
                self.schedule.step()
        except ValueError as error:
            raise InputError(
                f"optimizer gave a {type(self.schedule).__name__} that cannot take as many steps as are compared "
                f"({error}); give one of more steps"
            ) from error

    def taking(self, step: Step | None) -> Step:
        """Return these steps, or others for the optimizer's, with the schedule's."""
        if step is None:
            return self.step

        def both(parameters: Sequence[Tensor]) -> None:
            step(parameters)
            self.step_schedule()

        return both


def _needed(step: Callable[..., Any]) -> str:
    """The names of what a step must be given, as LBFGS a closure and ReduceLROnPlateau the loss."""
    try:
        parameters = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):  # it tells none
        return ""
    given = [each for each in parameters if each.name != "self"]  # which a schedule's wrapper shows
    given = [each for each in given if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return ", ".join(each.name for each in given if each.default is each.empty)


def ways(stepper: Stepper) -> Iterator[tuple[str, Way]]:
    """Yield the names of what may be otherwise in an optimizer, and how; a way may return what takes its steps."""
    optimizer = stepper.optimizer
    if not isinstance(optimizer, Optimizer):
        return
    group = optimizer.param_groups[0]
    for key, (name, optax) in NUMBERS.items():
        if _is_number(group.get(key)):
            first = "initial_lr" if key == "lr" and stepper.schedule is not None and "initial_lr" in group else key
            for own in dict.fromkeys(float(each[first]) for each in optimizer.param_groups if first in each):
                yield name, _number(optimizer, key, own, optax, first)
    for number in range(len(group.get("betas", ()))):
        for own in dict.fromkeys(float(each["betas"][number]) for each in optimizer.param_groups):
            yield "adam_betas", _beta(optimizer, number, own)
    if isinstance(optimizer, torch.optim.RMSprop):
        for own in dict.fromkeys(float(each["alpha"]) for each in optimizer.param_groups):
            yield "rmsprop_decay", _alpha(optimizer, own)
    for key, (name, optax) in FLAGS.items():
        for has in dict.fromkeys(each[key] for each in optimizer.param_groups if isinstance(each.get(key), bool)):
            yield name, _flag(optimizer, key, has, optax)
    if any(each.get("weight_decay") for each in optimizer.param_groups):
        yield "weight_decay_mask", _mask(optimizer)
    yield "missing_clip", _clip(optimizer)
    if optimizer._optimizer_step_pre_hooks:
        yield "missing_clip", _without_hooks(optimizer)
        yield "clip_epsilon", _clip_epsilon(optimizer)
    if stepper.schedule is not None:
        yield from (("schedule_offset", each) for each in _offsets(stepper))
    yield "average_of_weights", _average(optimizer)
    yield from optimizer_steps.ways(optimizer, stepper.schedule is not None)


def options(stepper: Stepper) -> tuple[Option, ...]:
    """Return what an optimizer may do otherwise."""
    return tuple(way.option(name) for name, way in ways(stepper))


def changed(stepper: Stepper, change: Change | None) -> Step:
    """Return what takes an optimizer's steps, with a convention changed."""
    if change is None:
        return stepper.step
    way = next(way for name, way in ways(stepper) if (name, way.whole_key) == change[:2])
    return stepper.taking(way.run() if way.start is None else way.run(change.value))


def _is_number(value: Any) -> bool:
    """Whether it is one, perhaps in a tensor; one in a narrower tensor is told as that."""
    if isinstance(value, Tensor):
        return value.dtype == torch.float64
    return isinstance(value, int | float) and not isinstance(value, bool)


def _set(optimizer: Optimizer, key: str, own: Any, other: Any) -> None:
    """Set a hyperparameter of the groups of parameters that have it so."""
    for group in optimizer.param_groups:
        if group.get(key) == own:
            group[key] = other


def _number(optimizer: Optimizer, key: str, own: float, optax: str, first: str) -> Way:
    """A number of those groups of parameters that have it; a factor of those of a schedule, which begins with `first`.

    A schedule may set the rate as it likes, so that only in a step another can stand there.
    """

    def run(value: float) -> Step | None:
        if first == key:
            _set(optimizer, key, own, value)
            return None
        own_groups = [group for group in optimizer.param_groups if group.get(first) == own]

        def step(parameters: Sequence[Tensor]) -> None:
            rates = [group[key] for group in own_groups]
            for group in own_groups:
                group[key] = group[key] * (value / own)
            optimizer.step()
            for group, rate in zip(own_groups, rates, strict=True):
                group[key] = rate

        return step if own else None

    return Way(
        key, f"it is {own:g}", f"{key} is {{value:g}}", run, own,
        jax=optax.format(own), torch=f"set {key}={own:g}", torch_other=f"set {key}={{value:g}}",
    )  # fmt: skip


def _beta(optimizer: Optimizer, number: int, own: float) -> Way:
    """The decay of an average, which is near 1, in the groups that have it: what is fitted is how far from it."""

    def run(rest: float) -> None:
        for group in optimizer.param_groups:
            betas = list(group["betas"])
            if betas[number] == own:
                betas[number] = 1 - min(max(rest, 0.0), 1.0)
                group["betas"] = tuple(betas)

    words = f"beta {number + 1}"
    return Way(
        words, f"it is {own:g}", f"{words} is {{rest:g}}", run, 1 - own, jax=f"set b{number + 1}={own:g}",
        torch=f"set {words} to {own:g}", torch_other=f"set {words} to {{rest:g}}",
    )  # fmt: skip


def _alpha(optimizer: Optimizer, own: float) -> Way:
    return Way(
        "alpha", f"it is {own:g}", "alpha is {rest:g}",
        lambda rest: _set(optimizer, "alpha", own, 1 - min(max(rest, 0.0), 1.0)), 1 - own,
        jax=f"set decay={own:g}", torch=f"set alpha={own:g}", torch_other="set alpha={rest:g}",
    )  # fmt: skip


def _flag(optimizer: Optimizer, key: str, own: bool, optax: str) -> Way:
    return Way(
        key, f"it is {own}", f"{key} is {not own}", lambda: _set(optimizer, key, own, not own),
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


def _without_hooks(optimizer: Optimizer) -> Way:
    """Hooks that clip, left out: after them no gradient is larger, or points elsewhere. Other hooks do what they do."""

    def run() -> Step:
        hooks = dict(optimizer._optimizer_step_pre_hooks)
        optimizer._optimizer_step_pre_hooks.clear()

        def step(parameters: Sequence[Tensor]) -> None:
            gradients = [p.grad for p in parameters if p.grad is not None]
            before = [each.clone() for each in gradients]
            for hook in hooks.values():
                hook(optimizer, (optimizer,), {})
            if all(map(_is_clipped, gradients, before)):
                for each, own in zip(gradients, before, strict=True):
                    each.copy_(own)
            optimizer.step()

        return step

    return Way(
        "hooks", "they are clipped before a step", "gradients are not clipped", run,
        jax="clip the gradients, as with clip_by_global_norm",
        torch="clip the gradients before a step", torch_other="leave the hook before a step out",
    )  # fmt: skip


def _is_clipped(gradient: Tensor, before: Tensor) -> bool:
    return bool((gradient.abs() <= before.abs()).all() and (gradient * before >= 0).all())


class _NoEpsilon(TorchFunctionMode):
    """Leaves the epsilon out by which PyTorch makes the norm larger that it clips by."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_sum = getattr(func, "__name__", "") in ("add", "__add__") and len(args) == 2
        # The norm is one number; Adadelta adds the same to each of many.
        is_epsilon = is_sum and isinstance(args[1], float) and args[1] == CLIP_EPSILON and args[0].ndim == 0
        return args[0] if is_epsilon else func(*args, **(kwargs or {}))


def _clip_epsilon(optimizer: Optimizer) -> Way:
    def step(parameters: Sequence[Tensor]) -> None:
        with _NoEpsilon():
            optimizer.step()

    return Way(
        "none", "1e-6 is added to it", "gradients are clipped by their norm itself", lambda: step,
        jax="accept the difference, or clip by norm + 1e-6", torch="use clip_grad_norm_",
        torch_other="divide by the norm alone",
    )  # fmt: skip


def _mask(optimizer: Optimizer) -> Way:
    """Biases and norms without decay; or with it, where they have none."""
    decay = max(group["weight_decay"] for group in optimizer.param_groups)
    of_one = [p for group in optimizer.param_groups for p in group["params"] if p.ndim < 2]
    is_masked = any(not group["weight_decay"] for group in optimizer.param_groups)

    def parts(groups: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for group in groups:
            for is_of_one in (False, True):
                kept = [p for p in group["params"] if is_of_one is any(p is each for each in of_one)]
                yield {**group, "params": kept} | ({"weight_decay": 0.0} if is_of_one else {})

    def step(parameters: Sequence[Tensor]) -> None:
        own = optimizer.param_groups  # a schedule has a rate for each of these
        optimizer.param_groups = [*parts(own)]
        optimizer.step()
        optimizer.param_groups = own

    def run() -> Step | None:
        if not is_masked:
            return step
        for group in optimizer.param_groups:
            group["weight_decay"] = decay
        return None

    words = {False: "every parameter decays", True: "some parameters do not decay"}
    other = {False: "what has one axis, as biases and norms, does not decay", True: "every parameter decays"}
    return Way(
        f"{not is_masked}", words[is_masked], other[is_masked], run,
        jax="set mask, so that the same parameters decay" if is_masked else "let every parameter decay: set no mask",
        torch="give the same parameters weight_decay", torch_other=f"see that {other[is_masked]}",
    )  # fmt: skip


def _offsets(stepper: Stepper) -> Iterator[Way]:
    def behind() -> Step:
        groups, before = stepper.optimizer.param_groups, []

        def step(parameters: Sequence[Tensor]) -> None:
            now = [{key: group[key] for key in OF_SCHEDULES if key in group} for group in groups]
            for group, numbers in zip(groups, before or now, strict=True):
                group.update(numbers)
            stepper.optimizer.step()
            for group, numbers in zip(groups, now, strict=True):
                group.update(numbers)
            before[:] = now

        return step

    for key, run in (("ahead", stepper.step_schedule), ("behind", behind)):
        yield Way(
            key, "it is stepped after the optimizer", f"the schedule is a step {key}", run,
            jax="begin the schedule at the same count", torch="step the schedule after the optimizer",
            torch_other=f"see that the schedule is a step {key}",
        )  # fmt: skip


def _average(optimizer: Optimizer) -> Way:
    """The parameters that are kept are an exponential average of those that take the steps."""

    def run(share: float) -> Step:
        fast: list[Tensor] = []

        def step(parameters: Sequence[Tensor]) -> None:
            with torch.no_grad():
                averages = [p.clone() for p in parameters]
                for p, own in zip(parameters, fast or averages, strict=True):
                    p.copy_(own)
                optimizer.step()
                fast[:] = [p.clone() for p in parameters]
                for p, average in zip(parameters, averages, strict=True):
                    p.copy_(average + share * (p - average))

        return step

    return Way(
        "share", "it is not", "the parameters are an average, into which a step brings {value:g} of itself", run, 1.0,
        jax="compare the parameters themselves, not their average",
        torch="compare the parameters themselves, not their average",
        torch_other="keep an average of the parameters, with {value:g} of each step",
    )  # fmt: skip
