"""How the candidate takes the inputs, which are in the reference's layout."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np

from parity.backend.batch import map_arrays
from parity.backend.port import Anatomy, Port
from parity.errors import InputError
from parity.pair.weight_map import weight_maps
from parity.verdict.trace import Mode

Order = Callable[[Mapping[str, Any]], dict[str, Any]]
Move = tuple[int, int] | None


def find_order(candidate: Port, ours: Anatomy, inputs: Mapping[str, Any]) -> tuple[Order, Anatomy]:
    """Find the order of axes with which the candidate has the reference's tensors, and prepare it for that.

    Args:
        candidate: its port.
        ours: the reference's anatomy.
        inputs: in the reference's layout.

    Raises:
        Exception: what the model raises with the inputs as they are, if it takes them in no order.
    """
    found: list[tuple[int, int, Order, Anatomy]] = []
    first: Exception | None = None
    last = 0  # that the candidate was prepared for
    for number, order in enumerate(_orders(inputs)):
        given, last = order(inputs), number
        try:
            candidate.prepare(given)
            theirs = candidate.anatomy(given, Mode.TRAIN)
        except InputError:
            raise
        except Exception as error:  # what a model does with an input of another shape
            first = first or error
            continue
        unmapped = min(len(each.unmapped[0]) + len(each.unmapped[1]) for each in weight_maps(ours, theirs))
        found.append((unmapped, number, order, theirs))
        if not unmapped:
            break
    if not found:
        assert first is not None
        raise first
    _, number, order, theirs = min(found, key=lambda each: each[:2])
    if number != last:
        candidate.prepare(order(inputs))
    return order, theirs


def _orders(inputs: Mapping[str, Any]) -> list[Order]:
    """Each input as it is, with its channels last, with them second."""
    choices: list[tuple[Move, ...]] = [
        (None, (1, -1), (-1, 1)) if _most_axes(each) >= 3 else (None,) for each in inputs.values()
    ]
    return [_order(dict(zip(inputs, moves, strict=True))) for moves in product(*choices)]


def _most_axes(tree: Any) -> int:
    found: list[int] = [0]
    map_arrays(lambda leaf: found.append(np.ndim(leaf)), tree)
    return max(found)


def _order(moves: Mapping[str, Move]) -> Order:
    def apply(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: map_arrays(lambda leaf, n=name: _moved(leaf, moves[n]), each) for name, each in inputs.items()}

    return apply


def _moved(leaf: Any, move: Move) -> Any:
    return np.ascontiguousarray(np.moveaxis(leaf, *move)) if move and np.ndim(leaf) >= 3 else leaf
