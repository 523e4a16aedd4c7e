"""The elements of a value that are measured together: beside a mask of -1e9 no other number has a size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.verdict.compare import SAFETY
from parity.verdict.noise import MANTISSA_BITS
from parity.verdict.trace import Array

SMALLEST_MASK = 1e3  # masks are from 1e4 on; a value without larger numbers is not searched for them
GAP = 10  # powers of two without a number, between those of a mask and the rest
EXTREME = 1e150  # the square of what is larger overflows


@dataclass(frozen=True)
class Part:
    """Some elements of a value; the others count as 0.

    Args:
        counts: which elements; None for all.
        extremes: the reference's value, where some of these are infinite or nearly so, or no numbers.
    """

    counts: NDArray[np.bool_] | None = None
    extremes: Array | None = None

    def ours(self, array: Array) -> Array:
        """Return what is measured of the reference's value."""
        if self.extremes is not None:
            array = np.where(_is_extreme(self.extremes), 0.0, array)
        return self._counted(array)

    def theirs(self, array: Array) -> Array:
        """Return what is measured of the candidate's: of an extreme 0 if it is the reference's, else infinity."""
        if self.extremes is not None:
            is_same = (array == self.extremes) | (np.isnan(array) & np.isnan(self.extremes))
            with np.errstate(all="ignore"):
                is_same |= np.abs(array / self.extremes - 1) <= SAFETY * 2.0 ** -MANTISSA_BITS["float64"]
            array = np.where(_is_extreme(self.extremes), np.where(is_same, 0.0, np.inf), array)
        return self._counted(array)

    def _counted(self, array: Array) -> Array:
        return array if self.counts is None else np.where(self.counts, array, 0.0)


def parts(value: Array, where: NDArray[np.bool_] | None) -> list[Part]:
    """Return the parts of a value of the reference: one, or what is not masked and what is.

    Args:
        value: of the reference.
        where: the positions that count, along the first axes; a value that has other axes counts as a whole.
    """
    all_that_count, masked = counts(value, where), masks(value)
    if masked is None:
        return [Part(None if all_that_count.all() else all_that_count)]
    extremes = value if _is_extreme(value[masked]).any() else None
    return [Part(~masked & all_that_count), Part(masked & all_that_count, extremes)]


def counts(value: Array, where: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return which elements of a value count."""
    if where is None or value.shape[: where.ndim] != where.shape:
        return np.broadcast_to(np.True_, value.shape)
    return np.broadcast_to(where.reshape(*where.shape, *[1] * (value.ndim - where.ndim)), value.shape)


def masks(value: Array) -> NDArray[np.bool_] | None:
    """Return which elements of a value are so much larger than the others that they must be a mask's; None if none."""
    size = np.abs(value)
    if (size <= SMALLEST_MASK).all():
        return None
    found = _is_extreme(value)
    powers = np.unique(np.frexp(size[~found & (size > 0)])[1])
    gaps = np.flatnonzero(np.diff(powers) > GAP)
    if gaps.size and (least := 2.0 ** (powers[gaps[-1] + 1] - 1)) > SMALLEST_MASK:
        found |= size >= least
    return found if found.any() else None


def _is_extreme(array: Array) -> NDArray[np.bool_]:
    return ~(np.abs(array) < EXTREME)
