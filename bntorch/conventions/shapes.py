"""Conventions of shapes, positions, tables and moments."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention
from parity.backend.convention import GENERAL


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
        torch_other="multiply the embedding by {value:.6g}", weakness=GENERAL,
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


@convention("median_rule", "median")
def _median(call: Called) -> Iterator[Way]:
    """Of an even number of values PyTorch takes the lower one of the two in the middle, NumPy and JAX their average."""
    x, dim = call["input"], call["dim"]

    def run() -> Any:
        if dim is None:
            return x.quantile(0.5)
        own = call.again()
        return type(own)((x.quantile(0.5, dim, keepdim=bool(call["keepdim"])), own.indices))

    if (x.numel() if dim is None else x.shape[dim]) % 2 == 0:
        yield Way(
            "average", "the lower one of them", "the median is the average of the two values in the middle", run,
            jax="take jnp.quantile(x, 0.5, method='lower')", torch="use torch.median",
            torch_other="use x.quantile(0.5)",
        )  # fmt: skip


@convention("tie_rule", "max", "min", "amax", "amin")
def _ties(call: Called) -> Iterator[Way]:
    """Of equal values PyTorch's max and min along an axis take one, amax, amin and JAX all: their gradient shows it."""
    x, dim, keep = call["input"], call["dim"], bool(call["keepdim"])
    if isinstance(dim, int) and call.name.startswith("a"):
        one = getattr(torch, call.name[1:])
        yield Way(
            call.name, "all of them", "of equal values one has the gradient", lambda: one(x, dim, keep).values,
            jax=f"use jnp.{call.name[1:]}", torch=f"use {call.name}", torch_other=f"use {call.name[1:]}(dim).values",
        )  # fmt: skip
    elif isinstance(dim, int):
        every = getattr(torch, f"a{call.name}")
        yield Way(
            call.name, "one of them", "equal values share the gradient",
            lambda: type(call.again())((every(x, dim, keep), call.again().indices)),
            jax=f"take the value at jnp.arg{call.name}", torch=f"use {call.name}(dim)", torch_other=f"use a{call.name}",
        )  # fmt: skip


@convention("head_axes", "view", "reshape", "unflatten", "flatten")
def _heads(call: Called) -> Iterator[Way]:
    """The last axis taken apart into heads, or put together of them, in another order of its factors."""
    x, own = call["input"], call.again()
    small, large = sorted((x, own), key=lambda each: each.ndim)
    at = small.ndim - 1
    factors = large.shape[at:]
    if at < 2 or small.shape[:at] != large.shape[:at] or len(factors) not in (2, 3) or min(factors) < 2:
        return
    places = list(range(len(factors)))
    for order in list(permutations(places))[1:]:
        back = [order.index(each) for each in places]

        def split(order: Sequence[int] = order, back: Sequence[int] = back) -> Tensor:
            turned = x.reshape(*x.shape[:at], *(factors[each] for each in order))
            return turned.permute(*range(at), *(at + each for each in back))

        def joined(order: Sequence[int] = order) -> Tensor:
            return x.permute(*range(at), *(at + each for each in order)).reshape(own.shape)

        # Heads are split and joined in one order, or one of these is forgotten.
        run, verb = (split, "split") if own is large else (joined, "joined")
        for key in ("split and joined", verb):
            yield Way(
                f"{key} {order}", f"{tuple(places)}", f"the last axis is {key} in the order {order}", run,
                jax="reshape to the reference's order of axes", torch="reshape to the reference's order of axes",
                torch_other=f"reshape to the order {order}, and back",
            )  # fmt: skip
