"""Conventions of activations."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from bntorch.conventions.calls import ARGUMENTS, Called, Way, convention
from bntorch.conventions.norms import NORMS

GELU = {"none": "by the error function", "tanh": "by tanh"}


@convention("gelu_form", "gelu")
def _gelu(call: Called) -> Iterator[Way]:
    own = call.get("approximate", "none")
    other = "none" if own == "tanh" else "tanh"
    yield Way(
        other, GELU[own], f"GELU is {GELU[other]}", lambda: call.again(approximate=other),
        jax=f"pass approximate={own == 'tanh'} to gelu", torch=f"pass approximate='{own}' to gelu",
        torch_other=f"pass approximate='{other}' to gelu",
    )  # fmt: skip


@convention("gelu_form", "gelu")
def _quick_gelu(call: Called) -> Iterator[Way]:
    x, own = call["input"], call.get("approximate", "none")
    yield Way(
        "sigmoid", GELU[own], "GELU is x sigmoid(1.702 x)", lambda: x * torch.sigmoid(1.702 * x),
        jax=f"use gelu(x, approximate={own == 'tanh'})", torch=f"use gelu(x, approximate='{own}')",
        torch_other="use x * sigmoid(1.702 * x)",
    )  # fmt: skip


SLOPES = {"leaky_relu": ("negative_slope", 0.01), "elu": ("alpha", 1.0), "softplus": ("beta", 1.0)}


@convention("activation_slope", *SLOPES)
def _slope(call: Called) -> Iterator[Way]:
    argument, default = SLOPES[call.name]
    own = float(call.get(argument, default))
    yield Way(
        argument, f"it is {own:g}", f"{argument} of {call.name} is {{value:g}}",
        lambda value: call.again(**{argument: value}), own, jax=f"set {argument}={own:g}",
        torch=f"set {argument}={own:g}", torch_other=f"set {argument}={{value:g}}",
    )  # fmt: skip


@convention("relu_at_zero", "relu")
def _relu_at_zero(call: Called) -> Iterator[Way]:
    x = call["input"]
    for key, words, run in (
        ("half", "1/2", lambda: torch.maximum(x, torch.zeros_like(x))),
        ("one", "1", lambda: x.clamp(min=0)),
    ):
        yield Way(
            key, "it is 0", f"the derivative of ReLU at 0 is {words}", run, jax="use jax.nn.relu",
            torch="use torch.relu", torch_other="use torch.maximum(x, 0)" if key == "half" else "use x.clamp(min=0)",
        )  # fmt: skip


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "softplus": F.softplus,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "mish": F.mish,
}


@convention("other_activation", *(name for name in ACTIVATIONS if name in ARGUMENTS))
def _activation(call: Called) -> Iterator[Way]:
    for other, function in ACTIVATIONS.items():
        if other != call.name:
            yield Way(
                f"{call.name} {other}", call.name, f"the activation is {other}",
                lambda f=function: f(call["input"]), jax=f"use {call.name}", torch=f"use {call.name}",
                torch_other=f"use {other}",
            )  # fmt: skip


@convention("missing_module", *(name for name in ACTIVATIONS if name in ARGUMENTS), *NORMS)
def _missing(call: Called) -> Iterator[Way]:
    x = call["input"]
    words = call.name.replace("_", " ")
    yield Way(
        call.name, "it is there", f"{words} is left out", lambda: x * 1.0, jax=f"apply {words} here",
        torch=f"apply {words} here", torch_other=f"leave {words} out",
    )  # fmt: skip
