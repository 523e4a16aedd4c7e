"""Conventions of norms."""

from collections.abc import Iterator

import torch

from bntorch.conventions.calls import Called, Way, convention

NORMS = ("layer_norm", "group_norm", "rms_norm", "batch_norm", "instance_norm")


@convention("norm_epsilon", *NORMS)
def _epsilon(call: Called) -> Iterator[Way]:
    default = torch.finfo(torch.float64).eps if call.name == "rms_norm" else 1e-5
    own = float(call.get("eps", default))
    yield Way(
        "eps", f"it is {own:g}", "epsilon is {value:g}", lambda value: call.again(eps=value), own,
        jax=f"set epsilon={own:g}", torch=f"set eps={own:g}", torch_other="set eps={value:g}",
    )  # fmt: skip


@convention("norm_epsilon", "rsqrt", "sqrt")
def _epsilon_by_hand(call: Called) -> Iterator[Way]:
    yield Way(
        "under the root", "not", "{value:g} more is added before the square root",
        lambda value: call.again(input=call["input"] + value), 0.0,
        jax="add the same before the square root", torch="add the same before the square root",
        torch_other="add {value:g} before the square root",
    )  # fmt: skip


@convention("statistics_never_used", "batch_norm")
def _never(call: Called) -> Iterator[Way]:
    if not call["training"] and call["running_mean"] is not None:
        yield Way(
            "batch", "the running ones", "the norm takes the batch's statistics in evaluation too",
            lambda: call.again(training=True), jax="hand use_running_average (or train) on to this norm",
            torch="hand the mode on to this norm", torch_other="call the module in training mode",
        )  # fmt: skip


@convention("statistics_always_used", "batch_norm")
def _always(call: Called) -> Iterator[Way]:
    if call["training"] and call["running_mean"] is not None:
        yield Way(
            "running", "those of the batch", "the norm takes its running statistics in training too",
            lambda: call.again(training=False), jax="hand use_running_average (or train) on to this norm",
            torch="hand the mode on to this norm", torch_other="call the module in evaluation mode",
        )  # fmt: skip
