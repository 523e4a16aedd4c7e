"""How a value of the candidate lies, compared with that of the reference: axes in another order, split or joined."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import inf, prod

import numpy as np

from parity.pair.part import EXTREME
from parity.verdict.noise import rms
from parity.weights import Array

Shape = tuple[int, ...]
EXACT = 1e-9  # of a value's size: nothing but rounding is apart
MOST_PERMUTED = 5  # axes; of arrays with more, a few orders are tried


@dataclass(frozen=True)
class Layout:
    """The same numbers, as both sides have them::

        candidate = reference.reshape(split).transpose(axes).reshape(candidate shape)

    Args:
        reference: shape of the reference's.
        split: shape of the reference's with some axes split.
        axes: the order of these that is the candidate's.
        candidate: shape of the candidate's.
    """

    reference: Shape
    split: Shape
    axes: tuple[int, ...]
    candidate: Shape

    @property
    def is_identity(self) -> bool:
        """Whether the two lie alike."""
        return self.reference == self.candidate and self.axes == tuple(range(len(self.axes)))

    @property
    def changes_axes(self) -> bool:
        """Whether one has more axes than the other."""
        return len(self.reference) != len(self.candidate)

    def to_candidate(self, array: Array) -> Array:
        """Return a value of the reference as the candidate has it."""
        return array.reshape(self.split).transpose(self.axes).reshape(self.candidate)

    def to_reference(self, array: Array) -> Array:
        """Return a value of the candidate as the reference has it."""
        moved = [self.split[axis] for axis in self.axes]
        return array.reshape(moved).transpose(np.argsort(self.axes)).reshape(self.reference)

    def __str__(self) -> str:
        if self.is_identity:
            return "as it is"
        words = f"axes {self.axes}" if self.axes != tuple(range(len(self.axes))) else "reshaped"
        return f"{words}: {self.reference} to {self.candidate}"


def layouts(reference: Shape, candidate: Shape) -> tuple[Layout, ...]:
    """Return the ways in which an array of one shape may be one of another, the likeliest first.

    As it is; with the channels, which PyTorch has second, last; and any other order of axes, if need be with axes that
    are joined on one side.
    """
    if prod(reference) != prod(candidate):
        return ()
    found: dict[tuple[Shape, tuple[int, ...]], Layout] = {}
    for layout in (*_ordered(reference, candidate), *(_reversed(each) for each in _ordered(candidate, reference))):
        found.setdefault((layout.split, layout.axes), layout)
    return tuple(found.values())


def _ordered(reference: Shape, candidate: Shape) -> Iterator[Layout]:
    """Those that split no axis of the reference."""
    own = [axis for axis, size in enumerate(reference) if size != 1]
    squeezed = tuple(reference[axis] for axis in own)
    target = tuple(size for size in candidate if size != 1)
    for axes in _orders(len(squeezed)):
        if _joins(tuple(squeezed[axis] for axis in axes), target):
            yield Layout(reference, squeezed, axes, candidate)


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    same = tuple(range(count))
    last, second = (0, *range(2, count), 1), (0, count - 1, *range(1, count - 1))
    usual = [same] if count < 3 else [same, last, second] if count == 3 else [last, second, same]
    yield from usual
    if 1 < count <= MOST_PERMUTED:
        yield from (axes for axes in permutations(same) if axes not in usual)


def _joins(sizes: Sequence[int], target: Sequence[int]) -> bool:
    """Whether neighbouring axes can be joined to give a shape."""
    rest = list(sizes)
    for size in target:
        product = 1
        while rest and product < size:
            product *= rest.pop(0)
        if product != size:
            return False
    return not rest


def _reversed(layout: Layout) -> Layout:
    """The layout that leads back."""
    moved = tuple(layout.split[axis] for axis in layout.axes)
    return Layout(layout.candidate, moved, tuple(map(int, np.argsort(layout.axes))), layout.reference)


def misfit(layout: Layout, reference: Array, candidate: Array) -> float:
    """Return the RMS of the difference over that of the reference; infinite where one alone is not finite."""
    ours, theirs = np.asarray(reference, float), np.asarray(layout.to_reference(candidate), float)
    with np.errstate(all="ignore"):
        is_same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))  # of infinities no difference tells that
        apart = rms(np.where(is_same, 0.0, theirs - ours))
        size = rms(np.where(np.abs(ours) < EXTREME, ours, 0.0))
        ratio = float(apart / size) if size > 0 else float(apart)
    return ratio if np.isfinite(ratio) else inf


def best_layout(
    reference: Array, candidate: Array, usual: Layout | None = None, exact: float = EXACT
) -> tuple[Layout, float] | None:
    """Return the layout that fits, and how far off the values then are; None if no layout has these shapes.

    One that fits exactly is taken. Below a fault none does: then another than the usual one is taken only if it fits
    more than twice as well.

    Args:
        reference: its value.
        candidate: its value.
        usual: a layout that is known from elsewhere; by default the likeliest.
        exact: what counts as an exact fit.
    """
    tried = layouts(reference.shape, candidate.shape)
    if not tried:
        return None
    if usual not in tried:
        usual = tried[0]
    best, least = usual, misfit(usual, reference, candidate)
    for layout in tried:
        if least <= exact:
            break
        found = misfit(layout, reference, candidate)
        if found <= exact or found < least / 2:
            best, least = layout, found
    return best, least
