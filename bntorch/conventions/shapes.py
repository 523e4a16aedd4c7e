"""Conventions of shapes, positions, tables and moments."""

from collections.abc import Iterator

import torch

from bntorch.conventions.calls import Called, Way, convention


@convention("flatten_order", "flatten")
def _flatten(call: Called) -> Iterator[Way]:
    x, start = call["input"], int(call.get("start_dim", 0))
    if x.ndim >= 3 and start == 1 and int(call.get("end_dim", -1)) in (-1, x.ndim - 1):
        yield Way(
            "second axis last", "second", "of what is flattened the second axis (channels) comes last",
            lambda: x.movedim(1, -1).flatten(1), jax="transpose to (batch, channels, ...) before it is flattened",
            torch="flatten (batch, channels, ...)", torch_other="use x.movedim(1, -1).flatten(1)",
        )  # fmt: skip


@convention("position_offset", "arange")
def _positions(call: Called) -> Iterator[Way]:
    for offset in (-1, 1, 2):
        yield Way(
            f"{offset:+d}", "0", f"positions begin {offset:+d} further on", lambda o=offset: call.again() + o,
            jax="let positions begin where the reference's do", torch="let positions begin where the reference's do",
            torch_other=f"add {offset} to the positions",
        )  # fmt: skip


@convention("extra_scale", "embedding")
def _scale(call: Called) -> Iterator[Way]:
    yield Way(
        "factor", "it is not", "the embedding is multiplied by {value:.6g}", lambda value: value * call.again(), 1.0,
        jax="leave the factor out, or have it twice", torch="leave the factor out, or have it twice",
        torch_other="multiply the embedding by {value:.6g}",
    )  # fmt: skip


@convention("embedding_padding", "embedding")
def _padding_row(call: Called) -> Iterator[Way]:
    if call["padding_idx"] is not None:
        yield Way(
            "none", "it has none", "the padding row has a gradient",
            lambda: call.again(padding_idx=None), jax="stop the gradient of the padding row",
            torch=f"set padding_idx={call['padding_idx']}", torch_other="set padding_idx=None",
        )  # fmt: skip


@convention("standard_deviation", "std", "var")
def _deviation(call: Called) -> Iterator[Way]:
    """PyTorch's two ways to say it: `correction`, or `unbiased`, which may also be given by place."""
    dim, second = call["dim"], call["2"]
    own = int(call.get("correction", call.get("unbiased", True if second is None else second)))
    if isinstance(dim, bool):
        own, dim = int(dim), None
    keep = bool(call.get("keepdim", call.get("3", False)))
    other = 1 - own
    function = getattr(torch, call.name)
    yield Way(
        f"{other}", f"n - {own}", f"the sum of squares is divided by n - {other}",
        lambda: function(call["input"], dim=dim, correction=other, keepdim=keep), jax=f"set ddof={own}",
        torch=f"set correction={own}", torch_other=f"set correction={other}",
    )  # fmt: skip
