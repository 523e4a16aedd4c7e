"""Conventions of recurrent layers."""

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import torch
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


def _gates(call: Called, count: int, change: Callable[[list[Tensor]], list[Tensor]]) -> Any:
    """Run a recurrent layer with the gates of every tensor changed."""

    def changed(weight: Tensor | None) -> Tensor | None:
        return None if weight is None else torch.cat(change(list(weight.chunk(count))))

    if "weights" in call.arguments:
        return call.again(weights=[changed(each) for each in call["weights"]])
    return call.again(**{name: changed(call[name]) for name in ("w_ih", "w_hh", "b_ih", "b_hh")})


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
