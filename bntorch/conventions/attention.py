"""Conventions of attention: softmax, scale, masks, packed projections."""

import math
from collections.abc import Iterator
from itertools import permutations

import torch
from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention

# attention


@convention("softmax_axis", "softmax", "log_softmax")
def _softmax_axis(call: Called) -> Iterator[Way]:
    x = call["input"]
    own = int(call["dim"]) % x.ndim
    for axis in range(x.ndim):
        if axis != own and x.shape[axis] > 1:
            yield Way(
                f"axis {axis}", f"{own}", f"the softmax is over axis {axis} of {x.ndim}",
                lambda axis=axis: call.again(dim=axis), jax=f"set axis={own}", torch=f"set dim={own}",
                torch_other=f"set dim={axis}",
            )  # fmt: skip


@convention("softmax_axis", "scaled_dot_product_attention")
def _attention_axis(call: Called) -> Iterator[Way]:
    def run() -> Tensor:
        query, key, value, mask = (call[name] for name in ("query", "key", "value", "attn_mask"))
        scores = query @ key.mT * call.get("scale", query.shape[-1] ** -0.5)
        if call["is_causal"]:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
        return scores.softmax(-2) @ value

    yield Way(
        "queries", "the keys", "the softmax of attention is over the queries", run, jax="set axis=-1",
        torch="set dim=-1", torch_other="set dim=-2",
    )  # fmt: skip


@convention("attention_scale", "softmax")
def _logit_scale(call: Called) -> Iterator[Way]:
    yield Way(
        "factor", "once", "what enters the softmax is {value:g} times as large",
        lambda value: call.again(input=value * call["input"]), 1.0,
        jax="scale the scores as the reference does", torch="scale the scores as the reference does",
        torch_other="scale the scores by {value:g}",
    )  # fmt: skip


@convention("attention_scale", "scaled_dot_product_attention")
def _attention_scale(call: Called) -> Iterator[Way]:
    own = float(call.get("scale", call["query"].shape[-1] ** -0.5))
    yield Way(
        "scale", f"{own:.6g}", "the scores are scaled by {value:.6g}", lambda value: call.again(scale=value), own,
        jax=f"scale the scores by {own:.6g}", torch=f"set scale={own:.6g}", torch_other="set scale={value:.6g}",
    )  # fmt: skip


LOWEST = torch.finfo(torch.float64).min  # which is finite, so that a row that is masked whole has numbers


@convention("mask_polarity", "masked_fill", "masked_fill_", "where")
def _polarity(call: Called) -> Iterator[Way]:
    argument = "condition" if call.name == "where" else "mask"
    mask = call[argument]
    if isinstance(mask, Tensor) and mask.ndim:
        yield _inverted(call, argument, call.name, ~mask)


@convention("mask_polarity", "multi_head_attention_forward", "scaled_dot_product_attention")
def _attention_polarity(call: Called) -> Iterator[Way]:
    for argument in ("key_padding_mask", "attn_mask"):
        mask = call[argument]
        if isinstance(mask, Tensor):
            is_kept = mask == 0
            if mask.dtype is torch.bool and call.name == "scaled_dot_product_attention":
                is_kept = mask
            for least in (LOWEST, -math.inf):
                other = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(is_kept, least)
                yield _inverted(call, argument, f"{argument} {least:g}", other)


def _inverted(call: Called, argument: str, key: str, mask: Tensor) -> Way:
    return Way(
        key, "it is the other way round", f"{argument} keeps what it should drop",
        lambda: call.again(**{argument: mask}), jax="invert the mask", torch="invert the mask",
        torch_other="invert the mask",
    )  # fmt: skip


MASKED = -1e3  # what is below stands where something is masked
CONSTANTS = (-math.inf, -1e4, -1e9, -1e10, -1e30, float(torch.finfo(torch.float32).min), torch.finfo(torch.float64).min)


@convention("mask_constant", "masked_fill", "masked_fill_")
def _constant(call: Called) -> Iterator[Way]:
    own = call["value"]
    if isinstance(own, int | float) and own < MASKED:
        for value in CONSTANTS:
            if value != own:
                yield Way(
                    f"{value:g}", f"{own:g}", f"what is masked is {value:g}", lambda v=value: call.again(value=v),
                    jax=f"mask with {own:g}", torch=f"mask with {own:g}", torch_other=f"mask with {value:g}",
                )  # fmt: skip


@convention("causal_offset", "tril", "triu")
def _causal(call: Called) -> Iterator[Way]:
    own = int(call.get("diagonal", 0))
    for other in (own - 1, own + 1):
        yield Way(
            f"{other - own:+d}", f"{own}", f"the mask's diagonal is {other}", lambda o=other: call.again(diagonal=o),
            jax=f"set k={own}", torch=f"set diagonal={own}", torch_other=f"set diagonal={other}",
        )  # fmt: skip


@convention("causal_offset", "scaled_dot_product_attention")
def _is_causal(call: Called) -> Iterator[Way]:
    if call["is_causal"]:
        form = call["query"].shape[-2], call["key"].shape[-2]
        for offset in (-1, 1):
            mask = torch.ones(form, dtype=torch.bool).tril(offset)
            yield Way(
                f"{offset:+d}", "0", f"the mask's diagonal is {offset}",
                lambda mask=mask: call.again(is_causal=False, attn_mask=mask), jax="set k=0 in the causal mask",
                torch="set is_causal=True", torch_other=f"use a mask with diagonal={offset}",
            )  # fmt: skip
        yield Way(
            "none", "it is there", "the causal mask is left out", lambda: call.again(is_causal=False),
            jax="pass a causal mask", torch="set is_causal=True", torch_other="set is_causal=False",
        )  # fmt: skip


@convention(
    "sliding_window", "scaled_dot_product_attention", "multi_head_attention_forward", "add", "__add__", "__iadd__"
)
def _window(call: Called) -> Iterator[Way]:
    """A window one longer or shorter at its far end, of attention's mask or of one that is added to the scores."""
    argument = "attn_mask" if "attention" in call.name else "other"
    mask = call[argument]
    if not isinstance(mask, Tensor) or mask.ndim < 2 or mask.shape[-1] < 2:
        return
    kept = mask > MASKED
    if mask.dtype is torch.bool:
        kept = ~mask if call.name.startswith("multi") else mask
    if bool(kept.all()) or not bool(kept.any()):
        return
    nothing, own = torch.zeros_like(kept[..., :1]), int(kept.sum(-1).max())
    longer, shorter = torch.cat([kept[..., 1:], nothing], -1), torch.cat([nothing, kept[..., :-1]], -1)
    for key, other in (("longer", kept | longer), ("shorter", kept & shorter)):
        most = int(other.sum(-1).max())
        if most and most != own:
            dropped = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~other, -math.inf)
            remedy = f"let a word see {own} words, itself among them"
            yield Way(
                f"{call.name} {key}", f"{own}", f"a word sees {most} words at most, itself among them",
                lambda dropped=dropped: call.again(**{argument: dropped}), jax=remedy, torch=remedy,
                torch_other=f"let a word see {most} words, itself among them",
            )  # fmt: skip


@convention("qkv_order", "chunk", "split", "unbind")
def _qkv(call: Called) -> Iterator[Way]:
    parts = call.again()
    if 2 <= len(parts) <= 4 and len({each.shape for each in parts}) == 1:
        for order in list(permutations(range(len(parts))))[1:]:
            yield Way(
                f"{order}", f"{tuple(range(len(parts)))}", f"what is packed is taken in the order {order}",
                lambda order=order: tuple(parts[each] for each in order),
                jax="take the parts in the reference's order", torch="take the parts in the reference's order",
                torch_other=f"take the parts in the order {order}",
            )  # fmt: skip
