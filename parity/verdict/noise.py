"""The noise floor: how far rounding alone moves a computation. It is the unit in which distances are measured.

A reference computes once as it is, and then over a few draws in which rounding is simulated: whatever an honest
implementation must round is moved by one ulp of the working dtype, up or down at random. The largest change of a tensor
is its noise floor. No output of a candidate, and no distance to one, enters it.

Reference: Parker, "Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic", 1997.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from parity.verdict.trace import Array, Key, Trace

DRAWS = 8
# Bits of mantissa after the leading one.
MANTISSA_BITS: dict[str, int] = {"float64": 52, "float32": 23, "tf32": 10, "bfloat16": 7}

# The exponents of the smallest normal number and of the largest, plus one.
_RANGE = {"float64": (-1022, 1024), "float32": (-126, 128)}
_EXPONENT, _SIGN = np.uint64(0x7FF0000000000000), np.uint64(63)  # of a float64: its bits, and its place


def ulp(x: Array, bits: int) -> Array:
    """Return the distance between neighbouring numbers with that many bits of mantissa, at the size of `x`; 0 at 0.

    The float64 whose mantissa is cleared is the power of two at or below `|x|`, and that times `2**-bits` is the ulp.
    It is at least the dtype's smallest normal number, or that power: what is smaller may be set to 0.
    """
    power = (np.asarray(x, np.float64).view(np.uint64) & _EXPONENT).view(np.float64)
    return np.minimum(np.maximum(power * 2.0**-bits, 2.0 ** _range(bits)[0]), power)


def _range(bits: int) -> tuple[int, int]:
    return _RANGE["float64" if bits > MANTISSA_BITS["float32"] else "float32"]


def move_one_ulp(array: Array, bits: int, rng: np.random.Generator, ulps: float = 1.0) -> Array:
    """Move every element by one ulp (or by some), up or down at random."""
    moved = np.asarray(ulps * ulp(array, bits))
    drawn = np.unpackbits(np.frombuffer(rng.bytes(-(-array.size // 8)), np.uint8), count=array.size)
    moved.view(np.uint64)[...] |= drawn.reshape(array.shape).astype(np.uint64) << _SIGN
    moved += array
    return moved


def rms(array: Array, per_channel: bool = False) -> Array:
    """Return the root mean square of all elements, or of each channel (the last axis)."""
    if per_channel and array.ndim < 2:
        return np.abs(array)
    rows = array.reshape(-1, array.shape[-1]) if per_channel else array.reshape(-1, 1)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        square = np.einsum("nc,nc->c", rows, rows) if per_channel else np.dot(rows[:, 0], rows[:, 0])
    plain = np.sqrt(square / len(rows))
    if plain.min() > 1e-150 and plain.max() < 1e150:
        return plain
    return _rms_of_extremes(rows) if per_channel else _rms_of_extremes(rows)[0]


def _rms_of_extremes(rows: Array) -> Array:
    """By the largest element first: the square of a number near the largest float is infinite, of a tiny one 0."""
    if not rows.any():
        return np.zeros(rows.shape[1])
    largest = np.max(np.abs(rows), axis=0)
    with np.errstate(invalid="ignore"):
        scaled = np.divide(rows, largest, out=np.zeros(rows.shape), where=largest > 0)
    return largest * np.sqrt(np.mean(np.square(scaled), axis=0))


@dataclass(frozen=True)
class Unit:
    """The rounding that a computation is allowed: the mantissa bits of statistics, and of all the rest."""

    bits: int
    statistic_bits: int

    def ulps_of_sum(self, count: int) -> float:
        """Return how many ulps rounding moves a sum of `count` products: `sqrt(count / 12)`, and at least 1.

        Such a sum is rounded up to `count` times, each time by at most half an ulp; as a random walk of uniform errors
        that comes to `sqrt(count / 12)`. Dtypes coarser than float32 accumulate in float32, and are rounded once.
        """
        return max(1.0, (count / 12) ** 0.5) if self.bits >= MANTISSA_BITS["float32"] else 1.0


def unit_of(dtype: str, precision: str = "highest") -> Unit:
    """Return one ulp of the working dtype, or of the matrix product's operands where they are coarser.

    In bfloat16 statistics stay in float32.
    """
    bits = MANTISSA_BITS[dtype]
    coarser = min(bits, MANTISSA_BITS.get(precision, bits)) if dtype == "float32" else bits
    return Unit(coarser, max(bits, MANTISSA_BITS["float32"]))


@dataclass(frozen=True)
class Witness:
    """What the reference shows, and how far rounding moves each tensor of it.

    Args:
        trace: of the reference as it is.
        floors: the noise floor of each tensor; shape () or (channels,).
    """

    trace: Trace
    floors: Mapping[Key, Array]


def measure_floors(trace: Trace, draws: Iterable[Trace], bits: int, per_channel: bool = False) -> Witness:
    """Measure the noise floor of every tensor of a trace.

    For a tensor `T` and draws `T_k`::

        floor = max_k RMS(T_k - T) + ulp(RMS(T))

    over all elements, or channel by channel. The ulp of a residue of larger tensors is that of their size. Where the
    square of a number overflows in the dtype, an honest implementation may give infinity, and the floor is infinite.

    Args:
        trace: of the reference as it is.
        draws: of the reference with simulated rounding. A tensor of these may hold many draws, along axes before its
            own; changes are folded into the largest as they come.
        bits: of mantissa, of the rounding that is allowed.
        per_channel: whether each channel has a floor of its own.
    """
    spread: dict[Key, Array] = {}
    for draw in draws:
        for key, array in trace.tensors.items():
            changes = (draw.tensors[key] - array).reshape(-1, *array.shape)
            change = _largest_rms(changes, per_channel)
            spread[key] = np.maximum(spread[key], change) if key in spread else change
        del draw  # before the next is drawn
    sizes = {key: rms(trace.scales.get(key, array), per_channel) for key, array in trace.tensors.items()}
    most = 2.0 ** (_range(bits)[1] // 2)
    return Witness(trace, {k: np.where(size < most, spread[k] + ulp(size, bits), np.inf) for k, size in sizes.items()})


def _largest_rms(changes: Array, per_channel: bool) -> Array:
    """The largest RMS of several arrays, shape (arrays, ...), or of each of their channels."""
    if per_channel and changes.ndim < 3:
        return np.abs(changes).max(axis=0)
    rows = changes.reshape(len(changes), -1, changes.shape[-1] if per_channel else 1)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = np.einsum("knc,knc->kc", rows, rows) / rows.shape[1]
    largest = squares.max(axis=0)
    if largest.min() > 1e-300 and largest.max() < 1e300:
        return np.sqrt(largest) if per_channel else np.sqrt(largest[0])
    return np.max([rms(change, per_channel) for change in changes], axis=0)
