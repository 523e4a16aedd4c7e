"""How a tensor of the candidate is made of one of the reference: axes in another order, reversed, split or joined."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from parity.weights import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Transform:
    """A rearrangement of the numbers of a tensor; it changes none.

    Args:
        name: for people.
        axes: the order of the axes.
        flipped: those of the new axes whose numbers are reversed.
        shape: of the result; None for what the order of axes gives.
    """

    name: str
    axes: tuple[int, ...]
    flipped: tuple[int, ...] = ()
    shape: Shape | None = None

    @property
    def moves_only(self) -> bool:
        """It does to a gradient what it does to the tensor."""
        return True

    def __call__(self, array: Array) -> Array:
        """Return the numbers of a tensor, rearranged; a copy."""
        moved = np.flip(np.transpose(array, self.axes), self.flipped)
        return np.array(moved.reshape(moved.shape if self.shape is None else self.shape))


def transposed(array: Array) -> Array:
    """Return a kernel (out, in, space) as (space, in, out), which is its transpose where there is no space.

    >>> transposed(np.zeros((8, 3, 5, 5))).shape
    (5, 5, 3, 8)
    """
    return np.moveaxis(array, (1, 0), (-2, -1))


def transforms(source: Shape, target: Shape, is_same_layout: bool, is_kernel: bool = False) -> tuple[Transform, ...]:
    """Return the usual rearrangements from one shape to another, the likeliest first.

    Which of several is right no shape tells, for a square matrix say: that is for the forced pass to judge.

    Args:
        source: of the reference's tensor.
        target: of the candidate's.
        is_same_layout: whether the two call it alike, so that their layouts are likely the same.
        is_kernel: whether the reference's is (space, in, out), as Flax has it.
    """
    kept = [axis for axis, size in enumerate(source) if size > 1]
    channels = (0, 1) if not is_kernel else (len(source) - 2, len(source) - 1)
    if len(source) > 2 and set(kept) <= set(channels):  # a matrix, as a 1 x 1 kernel is
        ones = [axis for axis, size in enumerate(source) if size == 1]
        matrix, squeezed = (tuple(size for size in shape if size > 1) for shape in (source, target))
        return tuple(
            Transform(
                way.name,
                (*ones, *(kept[axis] for axis in way.axes)),
                tuple(axis + len(ones) for axis in way.flipped),
                target,
            )
            for way in transforms(matrix, squeezed, is_same_layout, is_kernel)
        )
    orders = list(_orders(len(source)))
    other = ("(out, in, space)", "(in, out, space)") if is_kernel else ("(space, in, out)",)
    orders.sort(key=lambda order: order.name.startswith(other))  # what a reference of the other kind would have
    if is_same_layout:
        orders.sort(key=lambda order: order.axes != tuple(range(len(source))))
    found = []
    for order in orders:
        shape = tuple(source[axis] for axis in order.axes)
        if shape == target:
            found.append(order)
        elif prod(shape) == prod(target) and len(shape) != len(target) and _is_split(*sorted((shape, target), key=len)):
            words = "split into heads" if len(target) > len(shape) else "heads joined"
            found.append(Transform(f"{order.name}, {words}", order.axes, order.flipped, target))
    unique: dict[Any, Transform] = {}
    turned = [(*range(1, len(source)), 0), (len(source) - 1, *range(len(source) - 1))]

    def unlikely(way: Transform) -> tuple[bool, ...]:
        is_joined = way.shape is not None and len(way.shape) < len(source)
        is_turned = is_same_layout or way.axes in turned
        is_kept = not is_joined or (not way.flipped and _keeps_heads(source, way))
        return not is_kept, is_joined and len(source) > 2 and not is_turned

    for way in sorted(found, key=unlikely):
        unique.setdefault((way.axes, way.flipped), way)
    return tuple(unique.values())


def _keeps_heads(source: Shape, way: Transform) -> bool:
    """Whether axes that are joined come one after the other in the source too, as heads and their features do."""
    target, joined = list(way.shape or ()), []
    for axis in way.axes:
        joined.append(axis)
        if target and prod(source[each] for each in joined) == target[0]:
            if any(after != before + 1 for before, after in pairwise(joined)):
                return False
            target, joined = target[1:], []
    return True


def _orders(ndim: int) -> Iterator[Transform]:
    """The orders of axes of kernels: PyTorch's (out, in, space), Flax's (space, in, out), and those of embeddings."""
    same = tuple(range(ndim))
    if ndim < 2:
        yield Transform("as it is", same)
        return
    space = tuple(range(2, ndim))
    before = tuple(range(ndim - 2))
    if ndim == 2:
        yield Transform("transposed", (1, 0))
    else:
        yield Transform("(out, in, space) to (space, in, out)", (*space, 1, 0))
        yield Transform("(space, in, out) to (out, in, space)", (ndim - 1, ndim - 2, *before))
    yield Transform("as it is", same)
    if ndim > 2:
        yield Transform("(in, out, space) to (space, in, out), flipped", (*space, 0, 1), before)
        yield Transform("(space, in, out) to (in, out, space), flipped", (ndim - 2, ndim - 1, *before), space)
        yield Transform("(in, out, space) to (space, in, out)", (*space, 0, 1))
        yield Transform("first axis last", (*range(1, ndim), 0))
        yield Transform("last axis first", (ndim - 1, *range(ndim - 1)))
        yield Transform("(out, in, space) to (space, in, out), flipped", (*space, 1, 0), before)
        yield Transform("as it is, flipped", same, space)


def _is_split(fewer: Sequence[int], more: Sequence[int]) -> bool:
    """Whether each axis of one shape is one or several neighbouring axes of the other."""
    rest = list(more)
    for size in fewer:
        product = 1
        while rest and product < size:
            product *= rest.pop(0)
        if product != size:
            return False
    return all(size == 1 for size in rest)
