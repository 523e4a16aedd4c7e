"""Conventions of losses."""

from collections.abc import Iterator

import torch

from bntorch.conventions.calls import Called, Way, convention

# losses

LOSSES = ("cross_entropy", "nll_loss", "mse_loss", "l1_loss")


@convention("loss_reduction", *LOSSES)
def _reduction(call: Called) -> Iterator[Way]:
    own = call.get("reduction", "mean")
    other = {"mean": "sum", "sum": "mean"}.get(own)
    if other is not None:
        yield Way(
            f"{call.name} {other}", f"the {own}", f"{call.name} takes the {other}",
            lambda: call.again(reduction=other), jax=f"take the {own}", torch=f"set reduction='{own}'",
            torch_other=f"set reduction='{other}'",
        )  # fmt: skip


@convention("loss_reduction", "mean", "sum")
def _mean_or_sum(call: Called) -> Iterator[Way]:
    other = {"mean": "sum", "sum": "mean"}[call.name]
    if call["dim"] is None and call["input"].is_floating_point():
        yield Way(
            f"{call.name} {other}", f"the {call.name}", f"the {other} of all is taken",
            lambda: getattr(torch, other)(call["input"]), jax=f"take the {call.name}", torch=f"take the {call.name}",
            torch_other=f"take the {other}",
        )  # fmt: skip


@convention("half_square", "mse_loss")
def _half(call: Called) -> Iterator[Way]:
    yield Way(
        "half", "the whole", "the squared error is halved, as optax's l2_loss is", lambda: 0.5 * call.again(),
        jax="use optax.squared_error", torch="use mse_loss", torch_other="halve it",
    )  # fmt: skip


@convention("label_smoothing", "cross_entropy")
def _smoothing(call: Called) -> Iterator[Way]:
    own = float(call.get("label_smoothing", 0.0))
    yield Way(
        "smoothing", f"{own:g}", "label_smoothing is {value:g}",
        lambda value: call.again(label_smoothing=min(max(value, 0.0), 1.0)), own,
        jax=f"smooth the labels by {own:g}", torch=f"set label_smoothing={own:g}",
        torch_other="set label_smoothing={value:g}",
    )  # fmt: skip


@convention("class_weights", "cross_entropy", "nll_loss")
def _class_weights(call: Called) -> Iterator[Way]:
    if call["weight"] is not None:
        yield Way(
            "none", "they have", "the classes have no weights", lambda: call.again(weight=None),
            jax="weight the classes", torch="pass weight", torch_other="pass no weight",
        )  # fmt: skip
        if call.get("reduction", "mean") == "mean":
            yield Way(
                "by count", "by the sum of the weights", "the weighted losses are divided by their number",
                lambda: call.again(reduction="none").mean(), jax="divide by the sum of the weights of the labels",
                torch="use reduction='mean'", torch_other="use reduction='none', and take the mean",
            )  # fmt: skip


@convention("ignored_index", "cross_entropy", "nll_loss")
def _ignored(call: Called) -> Iterator[Way]:
    ignored = int(call.get("ignore_index", -100))
    target = call["target"]
    if not target.is_floating_point() and bool((target == ignored).any()) and ignored >= 0:
        yield Way(
            "counted", f"{ignored} is ignored", f"label {ignored} counts as any other",
            lambda: call.again(ignore_index=-100), jax=f"leave label {ignored} out, and divide by the rest",
            torch=f"set ignore_index={ignored}", torch_other="set no ignore_index",
        )  # fmt: skip
