"""Conventions of what stands between layers: sums, factors, biases, parts."""

from collections.abc import Iterator
from itertools import permutations

import torch
from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention


@convention("missing_residual", "add", "__add__", "__radd__", "add_", "__iadd__")
def _residual(call: Called) -> Iterator[Way]:
    for key, kept in _whole_terms(call):
        yield Way(
            key, "both are", f"of a sum the {key} term alone is there", lambda kept=kept: kept * 1.0,
            jax="add the other term", torch="add the other term", torch_other="leave the other term out",
        )  # fmt: skip


@convention("extra_scale", "add", "__add__", "__radd__", "add_", "__iadd__")
def _scaled_term(call: Called) -> Iterator[Way]:
    terms = {"first": call["input"], "second": call["other"]}
    for key, term in terms.items():
        if isinstance(term, Tensor) and term.is_floating_point():
            argument = "input" if key == "first" else "other"
            yield Way(
                key, "it is not", f"of a sum the {key} term is multiplied by {{value:.6g}}",
                lambda value, argument=argument, term=term: call.again(**{argument: value * term}), 1.0,
                jax="leave the factor out, or have it twice", torch="leave the factor out, or have it twice",
                torch_other=f"multiply the {key} term by {{value:.6g}}",
            )  # fmt: skip


def _whole_terms(call: Called) -> Iterator[tuple[str, Tensor]]:
    """The terms of a sum or a product that have its form, so that they can stand for it."""
    terms = {"first": call["input"], "second": call["other"]}
    shape = torch.broadcast_shapes(*(each.shape if isinstance(each, Tensor) else () for each in terms.values()))
    for key, kept in terms.items():
        if isinstance(kept, Tensor) and kept.is_floating_point() and kept.shape == shape:
            yield key, kept


@convention("missing_scale", "mul", "__mul__", "__rmul__", "div", "__truediv__")
def _factor(call: Called) -> Iterator[Way]:
    words = "divisor" if "div" in call.name else "factor"
    for key, kept in _whole_terms(call):
        if key == "first" or words == "factor":
            yield Way(
                f"{key} and no {words}", "it is there", f"the {words} is left out", lambda kept=kept: kept * 1.0,
                jax=f"do not leave the {words} out", torch=f"do not leave the {words} out",
                torch_other=f"leave the {words} out",
            )  # fmt: skip


@convention("stopped_gradient", "add", "__add__", "__radd__", "mul", "__mul__", "__rmul__", "matmul", "__matmul__")
def _stopped_term(call: Called) -> Iterator[Way]:
    for key, argument in (("first", "input"), ("second", "other")):
        term = call[argument]
        if isinstance(term, Tensor) and term.requires_grad:
            yield _stopped(call, argument, f"the {key} term of {call.name.strip('_')}", f"{call.name} {key}", term)


@convention("stopped_gradient", "linear", "softmax", "tanh", "silu", "relu", "gelu", "sigmoid")
def _stopped_input(call: Called) -> Iterator[Way]:
    if call["input"].requires_grad:
        yield _stopped(call, "input", f"what enters {call.name}", call.name, call["input"])


def _stopped(call: Called, argument: str, words: str, key: str, term: Tensor) -> Way:
    return Way(
        key, "it does", f"{words} gets no gradient", lambda: call.again(**{argument: term.detach()}),
        jax="do not stop the gradient there", torch="do not detach it", torch_other="detach it",
    )  # fmt: skip


@convention("missing_bias", "linear", *(f"conv{n}d" for n in (1, 2, 3)))
def _bias(call: Called) -> Iterator[Way]:
    if call["bias"] is not None:
        yield Way(
            call.name, "it is there", f"the bias of {call.name} is left out", lambda: call.again(bias=None),
            jax="add the bias", torch="add the bias", torch_other="leave the bias out",
        )  # fmt: skip


@convention("concatenation_order", "cat")
def _concatenation(call: Called) -> Iterator[Way]:
    tensors = list(call["tensors"])
    if 2 <= len(tensors) <= 4:
        for order in list(permutations(range(len(tensors))))[1:]:
            yield Way(
                f"{order}", f"{tuple(range(len(tensors)))}", f"what is joined stands in the order {order}",
                lambda order=order: call.again(tensors=[tensors[each] for each in order]),
                jax="join in the reference's order", torch="join in the reference's order",
                torch_other=f"join in the order {order}",
            )  # fmt: skip


@convention("taken_position", "__getitem__")
def _taken(call: Called) -> Iterator[Way]:
    """One position along an axis that is not the first: another, or all of them."""
    x, index = call["input"], call["index"]
    index = index if isinstance(index, tuple) else (index,)
    places = [axis for axis, each in enumerate(index) if isinstance(each, int) and not isinstance(each, bool)]
    if len(places) != 1 or places[0] == 0 or not x.is_floating_point():
        return
    if any(not (isinstance(each, int) or each == slice(None)) for each in index):
        return
    (axis,) = places
    own, size = int(index[axis]) % x.shape[axis], x.shape[axis]
    for other in {0, 1, size - 2, size - 1} - {own}:
        if 0 <= other < size:
            yield Way(
                f"{other - size if other > 1 else other}", f"{index[axis]}", f"position {other} of {size} is taken",
                lambda o=other: x.select(axis, o), jax=f"take position {index[axis]}",
                torch=f"take position {index[axis]}", torch_other=f"take position {other}",
            )  # fmt: skip
    for words, run in (("mean", lambda: x.mean(axis)), ("maximum", lambda: x.amax(axis))):
        yield Way(
            words, f"{index[axis]}", f"the {words} of all positions is taken", run,
            jax=f"take position {index[axis]}", torch=f"take position {index[axis]}", torch_other=f"take the {words}",
        )  # fmt: skip


@convention("tied_weights", "linear", "embedding")
def _tied(call: Called) -> Iterator[Way]:
    yield Way(
        call.name, "it does", f"the tensor gets no gradient from its use by {call.name}",
        lambda: call.again(weight=call["weight"].detach()), jax="use one parameter in both places, and do not stop it",
        torch="use one parameter in both places", torch_other="detach it in one place",
    )  # fmt: skip
