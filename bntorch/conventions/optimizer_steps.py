"""Steps of optimizers as other libraries take them, written by hand."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bntorch.conventions.calls import Way

Step = Callable[[Sequence[Tensor]], None]
State = dict[str, Any]  # of a parameter
Update = Callable[[Mapping[str, Any], State, Tensor], Tensor]


def by_hand(optimizer: Optimizer, update: Update) -> Step:
    """Return steps `p - update(group, state, g)` of every parameter, with the weight decay of its group.

    What is done before and after a step, as clipping, is done as in the optimizer's own.

    Args:
        optimizer: whose groups of parameters these are.
        update: of a parameter, from its group, its state, which is empty at first, and its gradient.
    """
    states: dict[Tensor, State] = defaultdict(dict)

    def step(parameters: Sequence[Tensor]) -> None:
        for hook in list(optimizer._optimizer_step_pre_hooks.values()):
            hook(optimizer, (optimizer,), {})
        with torch.no_grad():
            for group in optimizer.param_groups:
                decay, is_apart = group["weight_decay"], group.get("decoupled_weight_decay", False)
                for p in (p for p in group["params"] if p.grad is not None):
                    g = p.grad if is_apart else p.grad + decay * p
                    p.mul_(1 - group["lr"] * decay if is_apart else 1.0).sub_(update(group, states[p], g))
        for hook in list(optimizer._optimizer_step_post_hooks.values()):
            hook(optimizer, (optimizer,), {})

    return step


def ways(optimizer: Optimizer, has_schedule: bool) -> Iterator[tuple[str, Way]]:
    """Yield the names of what an optimizer may do otherwise in its steps, and how."""
    groups = optimizer.param_groups
    is_plain = not any(group.get(each) for group in groups for each in ("amsgrad", "maximize", "centered", "lr_decay"))
    has_momentum = any(group.get("momentum") for group in groups)
    kind = next((each for each in _OTHERS if type(optimizer) is each), None)
    if kind is None or not is_plain or (kind is torch.optim.RMSprop and has_momentum):
        return
    if kind is torch.optim.SGD and not (has_schedule and has_momentum):
        return  # where the rate is always the same
    for name, update, texts in _OTHERS[kind]:
        yield name, Way(**texts, run=partial(by_hand, optimizer, update))


def _text(key: str, own: str, other: str, jax: str, torch: str, torch_other: str) -> dict[str, Any]:
    return {"key": key, "own": own, "other": other, "jax": jax, "torch": torch, "torch_other": torch_other}


def _sgd_with_rate_in_trace(group: Mapping[str, Any], state: State, g: Tensor) -> Tensor:
    """`v = m v + rate g`, as Sutskever et al. (2013) and TensorFlow have it."""
    m = group["momentum"]
    kept = 1 - group["dampening"] if "v" in state else 1.0
    state["v"] = m * state.get("v", torch.zeros_like(g)) + kept * group["lr"] * g
    return m * state["v"] + group["lr"] * g if group["nesterov"] else state["v"]


def _adam(
    group: Mapping[str, Any],
    state: State,
    g: Tensor,
    divided: Callable[..., Tensor],
) -> Tensor:
    """Adam; `divided` gives `(mean, square, correction, correction, epsilon)` its mean by the root of its square."""
    b1, b2 = group["betas"]
    state["mean"] = b1 * state.get("mean", torch.zeros_like(g)) + (1 - b1) * g
    state["square"] = b2 * state.get("square", torch.zeros_like(g)) + (1 - b2) * g.square()
    state["count"] = state.get("count", 0) + 1
    corrections = (1 - b ** state["count"] for b in (b1, b2))
    return group["lr"] * divided(state["mean"], state["square"], *corrections, group["eps"])


def _nadam_of_optax(group: Mapping[str, Any], state: State, g: Tensor) -> Tensor:
    b1, b2 = group["betas"]
    state["mean"] = b1 * state.get("mean", torch.zeros_like(g)) + (1 - b1) * g
    state["square"] = b2 * state.get("square", torch.zeros_like(g)) + (1 - b2) * g.square()
    t = state["count"] = state.get("count", 0) + 1
    ahead = b1 * state["mean"] / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return group["lr"] * ahead / ((state["square"] / (1 - b2**t)).sqrt() + group["eps"])  # type: ignore[no-any-return]


def _rmsprop(group: Mapping[str, Any], state: State, g: Tensor, start: float, is_in_root: bool) -> Tensor:
    old = state.get("square", torch.full_like(g, start))
    square = state["square"] = group["alpha"] * old + (1 - group["alpha"]) * g.square()
    root = (square + group["eps"]).sqrt() if is_in_root else square.sqrt() + group["eps"]
    return group["lr"] * g / root  # type: ignore[no-any-return]


def _adagrad_of_optax(group: Mapping[str, Any], state: State, g: Tensor) -> Tensor:
    state["sum"] = state.get("sum", torch.full_like(g, 0.1)) + g.square()
    return group["lr"] * g * (state["sum"] + 1e-7).rsqrt()  # type: ignore[no-any-return]


_ADAM = (
    (
        "adam_epsilon",
        partial(_adam, divided=lambda m, v, c1, c2, eps: m / c1 / (v / c2 + eps).sqrt()),
        _text(
            "in the root", "after it", "epsilon is added before the square root", "give eps, and no eps_root",
            "use torch.optim.Adam", "add epsilon before the square root",
        ),
    ),
    (
        "adam_epsilon",
        partial(_adam, divided=lambda m, v, c1, c2, eps: m / c1 * c2**0.5 / (v.sqrt() + eps)),
        _text(
            "before the correction", "after it", "epsilon is added before the square's correction for its start",
            "use optax.adam", "use torch.optim.Adam", "add epsilon before the square's average is corrected",
        ),
    ),
    (
        "adam_debias",
        partial(_adam, divided=lambda m, v, c1, c2, eps: m / (v.sqrt() + eps)),
        _text(
            "left out", "they are", "the averages are not corrected for their start at 0", "use optax.adam",
            "use torch.optim.Adam", "do not correct the averages for their start",
        ),
    ),
)  # fmt: skip
_OTHERS: dict[type[Optimizer], tuple[tuple[str, Update, dict[str, Any]], ...]] = {
    torch.optim.SGD: (
        (
            "momentum_times_rate",
            _sgd_with_rate_in_trace,
            _text(
                "in the trace", "what is averaged is", "the rate is a factor of what momentum keeps",
                "scale by the rate after the trace, as optax.sgd does", "use torch.optim.SGD",
                "multiply the gradient by the rate before momentum takes it in",
            ),
        ),
    ),
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
    torch.optim.NAdam: (
        (
            "nadam_schedule",
            _nadam_of_optax,
            _text(
                "optax", "it grows from step to step",
                "the momentum that looks ahead is the same in every step, as in optax",
                "write the schedule of the momentum yourself, or accept the difference", "use torch.optim.NAdam",
                "use the same momentum in every step",
            ),
        ),
    ),
    torch.optim.RMSprop: (
        (
            "rmsprop_epsilon",
            partial(_rmsprop, start=0.0, is_in_root=True),
            _text(
                "in the root", "after it", "epsilon is added before the square root", "set eps_in_sqrt=False",
                "use torch.optim.RMSprop", "add epsilon before the square root",
            ),
        ),
        (
            "rmsprop_initial",
            partial(_rmsprop, start=1.0, is_in_root=False),
            _text(
                "1", "it begins at 0", "the average of squares begins at 1", "set initial_scale=0",
                "use torch.optim.RMSprop", "let the average of squares begin at 1",
            ),
        ),
    ),
    torch.optim.Adagrad: (
        (
            "adagrad_defaults",
            _adagrad_of_optax,
            _text(
                "optax", "they begin at 0, with 1e-10 after the root",
                "Adagrad's sums begin at 0.1, with an epsilon of 1e-7 in the root, as optax has it",
                "set initial_accumulator_value=0 and eps=1e-20", "use torch.optim.Adagrad",
                "let the sums begin at 0.1, and add 1e-7 before the root",
            ),
        ),
    ),
}  # fmt: skip
