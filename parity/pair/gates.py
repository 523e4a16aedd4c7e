"""Recurrent layers taken apart into their gates, since every library packs these, and sums their biases, otherwise.

    LSTM:  i, f, g, o = W_i x + b_i + W_h h + b_h, each through its own nonlinearity
    GRU:   r, z the same;  n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), whose two biases are not one

PyTorch has `weight_ih`, `weight_hh` and two biases, linen a module for each gate with one bias, Equinox one bias, and
one more for a GRU's n.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from parity.pair.owners import Held, Owner, Piece

_LEAF = re.compile(r"(weight|bias)(?:_(ih|hh|n))?(?:_(l\d+(?:_reverse)?))?")
GATES = {1: ("",), 3: ("r", "z", "n"), 4: ("i", "f", "g", "o")}
# On which side, of the input or of the state, a gate has its bias: on one, or on both.
SIDES = ("h", "i", "ih")


def is_recurrent(parameters: Mapping[str, Held]) -> bool:
    """Return whether a module's tensors are those of a recurrent layer."""
    return all(map(_LEAF.fullmatch, parameters)) and any(leaf.startswith("weight_hh") for leaf in parameters)


def gates(own: Owner) -> Iterator[list[Owner]]:
    """Yield the ways to take a recurrent layer apart: into owners of one gate's weights and bias, or of all gates'."""
    states = [held.form.shape for leaf, held in own.parameters.items() if leaf.startswith("weight_hh")]
    if all(len(shape) == 2 and shape[0] in [count * shape[1] for count in GATES] for shape in states):
        rows, size = states[0]
        names = GATES[rows // size]
        yield from (_apart(own, size, names, sides) for sides in SIDES)
        yield from (_apart(own, rows, ("",), sides) for sides in (SIDES if "n" not in names else SIDES[-1:]))


def _apart(own: Owner, size: int, names: tuple[str, ...], sides: str) -> list[Owner]:
    found: dict[str, dict[str, Held]] = defaultdict(dict)
    for leaf, held in own.parameters.items():
        match = _LEAF.fullmatch(leaf)
        assert match is not None
        role, source, layer = match.groups()
        own_names = names[-1:] if source == "n" else names
        for number, gate in enumerate(own_names):
            side = "h" if source in ("hh", "n") else "i"
            if role == "bias" and len(sides) == 1 and gate != "n":
                side = sides
            piece = Piece(held.pieces[0].path, 0, number * size, size)
            target = found[f"{layer or ''}.{side}{gate}".strip(".")]
            earlier = target[role].pieces if role in target else ()
            form = replace(held.form, shape=(size, *held.form.shape[1:]))
            target[role] = Held((*earlier, piece), form)
    return [
        Owner(f"{own.name}.{name}", own.member, own.order + number / len(found), tensors)
        for number, (name, tensors) in enumerate(found.items())
    ]
