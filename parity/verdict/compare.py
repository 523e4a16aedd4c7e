"""Distances in units of the noise floor.

**The limit.** A tensor of one side may be further from another's by at most `SAFETY` times its noise floor. The floor
simulates one rounding at every place where any implementation must round; where an honest one rounds more often, or in
another order, it comes out further away. How much further is measured over every tensor of every probe and window, on
honest siblings against the reference and each other, in every dtype, at depths 1 to 25 (`make honest-seeds`): the
largest distance is 8.0 floors, in float32 at depth 25, and in earlier runs in float64 one was 7.2.
`SAFETY` is the next power of two above twice the largest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from parity.verdict.noise import Witness, rms
from parity.verdict.trace import Array, Key, Kind, Trace

SAFETY = 16.0


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far one tensor of a side is from another's.

    Args:
        key: where it was measured.
        order: its place in causal order within the trace.
        distance: RMS of the difference; of the worst channel where channels are measured apart.
        floor: the noise floor.
        size: RMS of the tensor itself.
        times_noise: distance over floor; infinite where either is not finite.
        shared: whether both sides were handed the same state: these decide the sensitivity.
    """

    key: Key
    order: int
    distance: float
    floor: float
    size: float
    times_noise: float
    shared: bool = True

    @property
    def is_beyond(self) -> bool:
        """Whether it is beyond the limit; what is not a number is."""
        return not self.times_noise <= SAFETY


D = TypeVar("D", bound=Distance)


def compare(
    actual: Trace,
    expected: Trace,
    floors: Mapping[Key, Array],
    per_channel: bool = False,
    left_out: frozenset[Key] = frozenset(),
    nan_matches: bool = False,
) -> Iterator[Distance]:
    """Yield the distance of every tensor that two traces share, in causal order.

    Args:
        actual: of the one.
        expected: of the other.
        floors: the noise floor of each tensor.
        per_channel: whether each channel has a limit of its own; the worst one decides, and those that are drowned
            do not count.
        left_out: tensors that are not compared.
        nan_matches: whether NaN in the same places is agreement. It is where a fault that makes NaN is to be
            recognized, and nowhere else.
    """
    for order, (key, floor) in enumerate(floors.items()):
        if key in left_out or key not in actual.tensors or key not in expected.tensors:
            continue
        a, b = actual.tensors[key], expected.tensors[key]
        if nan_matches and np.isnan(a).any() and np.array_equal(np.isnan(a), np.isnan(b)):
            a, b, floor = np.nan_to_num(a), np.nan_to_num(b), np.nan_to_num(floor, nan=np.inf)
        with np.errstate(all="ignore"):
            distance = rms_or_inf(a - b, per_channel)
            ratio = in_units(distance, floor)
            size = rms_or_inf(expected.scales.get(key, b), per_channel)
        if per_channel and np.all(np.isfinite(distance)):  # no limit on a channel that is drowned is honest
            ratio = np.where(drowned_channels(expected, key, floor), 0.0, ratio)
        worst = np.unravel_index(np.argmax(ratio), np.shape(ratio))
        yield Distance(
            key=key,
            order=order,
            distance=float(distance[worst]),
            floor=float(floor[worst]),
            size=float(size[worst]),
            times_noise=float(ratio[worst]),
            shared=key.step == 0 or key in expected.scales,
        )


def rms_or_inf(array: Array, per_channel: bool = False) -> Array:
    """Return the RMS, and infinity where an element is not finite."""
    value = rms(array, per_channel)
    return np.where(np.isfinite(value), value, np.inf)


def apart(one: Array, other: Array) -> float:
    """Return the RMS of what two tensors differ by: the same infinity in both, as of a mask, is no difference."""
    with np.errstate(all="ignore"):
        return float(rms_or_inf(np.where(one == other, 0.0, one - other)))


def in_units(distance: Array, floor: Array) -> Array:
    """Return distance over floor: 0 where both are 0, infinite where only the floor is or the distance is."""
    with np.errstate(all="ignore"):
        ratio = distance / floor
    return np.where(distance == 0, 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def drowned_tensors(witness: Witness) -> frozenset[Key]:
    """Return the tensors that rounding alone could turn into anything, so that no limit on them is honest.

    In a deep network with batch norm noise grows from layer to layer. Where the limit on a whole activation reaches its
    size, that activation is drowned, and with it all that follows it in causal order. In updates after the first, which
    each side takes from its own state, every tensor is judged for itself, as long as its noise is small: states drift
    apart exponentially, and how much further one drift goes than another has no bound. And a tensor without a finite
    floor is drowned, whatever it is: the reference itself overflows there.
    """
    found: set[Key] = set()
    submerged = False
    for key in witness.trace.tensors:
        floor, is_residue = np.asarray(witness.floors[key]), key in witness.trace.scales
        overflows = not np.all(np.isfinite(floor))
        drowned = overflows or bool(np.all(drowned_channels(witness.trace, key, floor)))
        submerged |= drowned and key.kind is Kind.ACTIVATION and key.step == 0
        if overflows or (submerged and not is_residue) or (drowned and key.step > 0):
            found.add(key)
    return frozenset(found)


def drowned_channels(trace: Trace, key: Key, floor: Array) -> NDArray[np.bool_]:
    """Return where the limit on a tensor, or on each of its channels, reaches its size; shape that of the floor.

    A residue may well be smaller than the rounding of what it is left of; so may a gradient whose terms cancel, and it
    is judged as long as the states are shared. What is 0 has no size.
    """
    if key in trace.scales or (key.step == 0 and key.kind is not Kind.ACTIVATION):
        return np.zeros(np.shape(floor), np.bool_)
    with np.errstate(all="ignore"):
        size = rms(trace.tensors[key], per_channel=np.ndim(floor) > 0)
        return (size > 0) & ((SAFETY if key.step == 0 else SAFETY**2) * floor >= size)


def first_beyond(found: Iterable[D]) -> D | None:
    """Return the first distance beyond its limit; they come in causal order."""
    return next((distance for distance in found if distance.is_beyond), None)
