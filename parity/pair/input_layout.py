"""How the candidate takes the inputs, which are in the reference's layout."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from parity.backend.batch import map_arrays
from parity.backend.port import Anatomy, Port
from parity.errors import InputError
from parity.pair.weight_map import weight_maps
from parity.verdict.trace import Mode

Axes = tuple[int, ...] | None


@dataclass(frozen=True)
class Order:
    """The order in which the candidate takes the axes of each input; None for the reference's."""

    axes: Mapping[str, Axes]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch as the candidate takes it."""
        return {
            name: map_arrays(lambda leaf, n=name: _moved(leaf, self.axes[n]), each) for name, each in inputs.items()
        }


def orders(
    candidate: Port, ours: Anatomy, inputs: Mapping[str, Any], layouts: Mapping[str, Sequence[int]]
) -> Iterator[tuple[Order, Anatomy]]:
    """Yield the orders of axes with which the candidate runs and has the reference's tensors, prepared for that.

    Afterwards it is prepared for the last that was yielded.

    Args:
        candidate: its port.
        ours: the reference's anatomy.
        inputs: in the reference's layout.
        layouts: the order of axes in which the candidate takes an input, by name; of the others it is found.

    Raises:
        Exception: what the model raises with the inputs as they are, if it takes them in no order.
    """
    others: list[tuple[int, int, Order, Anatomy]] = []
    first: Exception | None = None
    found: Order | None = None
    is_prepared = True
    for number, order in enumerate(_orders(inputs, layouts)):
        given = order(inputs)
        is_prepared = False
        try:
            candidate.prepare(given)
            theirs = candidate.anatomy(given, Mode.TRAIN)
        except InputError:
            if found is not None:
                continue
            raise
        except Exception as error:  # what a model does with an input of another shape
            first = first or error
            continue
        unmapped = min(len(each.unmapped[0]) + len(each.unmapped[1]) for each in weight_maps(ours, theirs))
        if unmapped:
            others.append((unmapped, number, order, theirs))
        else:
            found, is_prepared = order, True
            yield order, theirs
    if found is not None:
        if not is_prepared:
            candidate.prepare(found(inputs))
        return
    if not others:
        assert first is not None
        raise first
    for _, _, order, theirs in sorted(others, key=lambda each: each[:2]):
        candidate.prepare(order(inputs))
        yield order, theirs


def _orders(inputs: Mapping[str, Any], layouts: Mapping[str, Sequence[int]]) -> list[Order]:
    """Each input in the order that is given for it; else as it is, with its channels last, with them second."""

    def choices(name: str) -> tuple[Axes, ...]:
        if name in layouts:
            return (tuple(layouts[name]),)
        count = _most_axes(inputs[name])
        return (None, (0, *range(2, count), 1), (0, count - 1, *range(1, count - 1))) if count >= 3 else (None,)

    return [Order(dict(zip(inputs, axes, strict=True))) for axes in product(*map(choices, inputs))]


def _most_axes(tree: Any) -> int:
    found: list[int] = [0]
    map_arrays(lambda leaf: found.append(np.ndim(leaf)), tree)
    return max(found)


def _moved(leaf: Any, axes: Axes) -> Any:
    return np.ascontiguousarray(np.transpose(leaf, axes)) if axes is not None and np.ndim(leaf) == len(axes) else leaf
