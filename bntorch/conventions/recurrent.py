"""Conventions of recurrent layers."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import cycle, permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bntorch.conventions.calls import Called, Way, convention


@convention("sequence_direction", "lstm", "gru")
def _direction(call: Called) -> Iterator[Way]:
    axis = 1 if call["8"] else 0  # batch_first

    def run() -> Any:
        outputs, *state = call.again(input=call["input"].flip(axis))
        return (outputs, *state)

    def back() -> Any:
        outputs, *state = run()
        return (outputs.flip(axis), *state)

    if isinstance(call["8"], bool):
        for key, words, made in (("reversed", "", run), ("reversed and back", ", and its outputs back", back)):
            yield Way(
                key, "from the first step on", f"the sequence is read from its end{words}", made,
                jax="read the sequence from its beginning", torch="read the sequence from its beginning",
                torch_other="flip the sequence",
            )  # fmt: skip


TENSORS = ("w_ih", "w_hh", "b_ih", "b_hh")  # of a layer, in this order


def _gates(
    call: Called, count: int, change: Callable[[list[Tensor]], list[Tensor]], of: Collection[str] = TENSORS
) -> Any:
    """Run a recurrent layer with the gates of its tensors changed."""

    def changed(name: str, weight: Tensor | None) -> Tensor | None:
        return weight if weight is None or name not in of else torch.cat(change(list(weight.chunk(count))))

    if "weights" in call.arguments:
        of_each = len(call["weights"]) // (call["4"] * (2 if call["7"] else 1))  # of a layer in a direction
        own = TENSORS if call["3"] else TENSORS[:2]
        names = cycle((*own, *("w_hr",) * (of_each - len(own))))  # which projects the state, if there is one
        return call.again(weights=[changed(name, each) for name, each in zip(names, call["weights"], strict=False)])
    return call.again(**{name: changed(name, call[name]) for name in TENSORS})


def _has_biases(call: Called) -> bool:
    return bool(call["3"]) if "weights" in call.arguments else call["b_hh"] is not None


@convention("gate_order", "lstm", "lstm_cell", "gru", "gru_cell")
def _gate_order(call: Called) -> Iterator[Way]:
    names = "ifgo" if call.name.startswith("lstm") else "rzn"
    for order in list(permutations(range(len(names))))[1:]:
        words = "".join(names[each] for each in order)
        yield Way(
            words, names, f"the gates lie in the order {words}",
            lambda order=order: _gates(call, len(names), lambda parts: [parts[each] for each in order]),
            jax=f"keep the gates in the order {names}", torch=f"keep the gates in the order {names}",
            torch_other=f"keep the gates in the order {words}",
        )  # fmt: skip


@convention("recurrent_biases", "lstm", "lstm_cell")
def _forget(call: Called) -> Iterator[Way]:
    """Some libraries add 1 to the forget gate in every step (Jozefowicz et al., 2015)."""

    def run(value: float) -> Any:
        return _gates(call, 4, lambda parts: [parts[0], parts[1] + value, *parts[2:]], of=("b_hh",))

    if _has_biases(call):
        yield Way(
            "forget", "it is not", "{value:g} is added to the forget gate", run, 0.0,
            jax="add nothing to the forget gate", torch="add nothing to the forget gate",
            torch_other="add {value:g} to the forget gate",
        )  # fmt: skip


NewGate = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _reset_before(x: Tensor, r: Tensor, h: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """The new gate of the first version of Cho et al. (2014)."""
    return torch.tanh(x + F.linear(r * h, w, b))


def _bias_outside(x: Tensor, r: Tensor, h: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.tanh(x + r * F.linear(h, w) + b)


@convention("recurrent_biases", "gru", "gru_cell")
def _reset(call: Called) -> Iterator[Way]:
    if call.name == "gru" and not isinstance(call["8"], bool):
        return  # a packed sequence
    run = _gru_cell if call.name == "gru_cell" else _gru
    yield Way(
        "reset before", "after it", "the reset gate stands before the product with the recurrent kernel",
        lambda: run(call, _reset_before), jax="multiply h by the recurrent kernel, and the product by the reset gate",
        torch="use torch.nn.GRU", torch_other="multiply h by the reset gate, then by the recurrent kernel",
    )  # fmt: skip
    if _has_biases(call):
        yield Way(
            "bias outside", "within", "the recurrent bias of the new gate is outside the reset gate",
            lambda: run(call, _bias_outside), jax="multiply the recurrent bias of the new gate by the reset gate too",
            torch="use torch.nn.GRU", torch_other="add the recurrent bias of the new gate after the reset gate",
        )  # fmt: skip


def _gru_step(x: Tensor, h: Tensor, tensors: Sequence[Tensor | None], new_gate: NewGate) -> Tensor:
    w_ih, w_hh, b_ih, b_hh = tensors
    assert w_ih is not None
    assert w_hh is not None
    none = w_hh.new_zeros(len(w_hh))
    wr, wz, wn = w_hh.chunk(3)
    br, bz, bn = (none if b_hh is None else b_hh).chunk(3)
    xr, xz, xn = F.linear(x, w_ih, b_ih).chunk(3, -1)
    r, z = torch.sigmoid(xr + F.linear(h, wr, br)), torch.sigmoid(xz + F.linear(h, wz, bz))
    return (1 - z) * new_gate(xn, r, h, wn, bn) + z * h


def _gru_cell(call: Called, new_gate: NewGate) -> Tensor:
    return _gru_step(call["input"], call["hx"], [call[name] for name in TENSORS], new_gate)


def _gru(call: Called, new_gate: NewGate) -> tuple[Tensor, Tensor]:
    """Layer by layer, and in each direction step by step."""
    directions, is_batch_first = 2 if call["7"] else 1, call["8"]
    x = call["input"].transpose(0, 1) if is_batch_first else call["input"]
    count = 4 if call["3"] else 2
    weights = [call["weights"][at : at + count] for at in range(0, len(call["weights"]), count)]
    last = []
    for layer in range(call["4"]):
        outputs = []
        for direction in range(directions):
            at = layer * directions + direction
            h, seen = call["hx"][at], []
            for step in x.flip(0) if direction else x:
                h = _gru_step(step, h, [*weights[at], *[None] * (4 - count)], new_gate)
                seen.append(h)
            outputs.append(torch.stack(seen[::-1] if direction else seen))
            last.append(h)
        x = torch.cat(outputs, -1)
    return x.transpose(0, 1) if is_batch_first else x, torch.stack(last)
