"""How far rounding alone moves a computation: the unit in which the check measures.

The NumPy reference computes an episode once as it is, and then over a few draws in which rounding is simulated: every
weight, statistic and input is moved by one ulp of the working dtype at every update, and so is what every part of the
network gives, forward and backward. The largest change of a tensor is its noise floor. No output of a candidate, and no
distance to one, enters it.

Moving what goes in is not enough. Beside a large bias a sum is rounded at its own size and not at its operands' (and
moving the bias would shift a whole batch, which batch norm takes out); and where gradients cancel, as they do before
batch norm, what is left is the rounding of the terms. A sum of k products is rounded up to k times, each time by at
most half an ulp; as a random walk of uniform errors that comes to `sqrt(k / 12)` ulps, by which pre-activations are
moved.

Reference: Parker, "Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic", 1997.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Step
from parity.check.episode import Episode, Key, Recording, play
from parity.reference import NumpyBackend, NumpyLearner, NumpyPopulation, Parts
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights, is_statistic

DRAWS = 8
# Bits of mantissa after the leading one.
MANTISSA_BITS: dict[str, int] = {"float64": 52, "float32": 23, "tf32": 10, "bfloat16": 7}


_EXPONENT, _SIGN = np.uint64(0x7FF0000000000000), np.uint64(1 << 63)  # bits of a float64


def ulp(x: Array, bits: int) -> Array:
    """The distance between neighbouring numbers with that many bits of mantissa, at the size of `x`; 0 at 0.

    The float64 whose mantissa is cleared is the power of two at or below `|x|`, and that times `2**-bits` is the ulp.
    """
    power = (np.asarray(x, np.float64).view(np.uint64) & _EXPONENT).view(np.float64)
    return power * 2.0**-bits


def move_one_ulp(array: Array, bits: int, rng: np.random.Generator, ulps: float = 1.0) -> Array:
    """Every element moved by one ulp (or by some), up or down at random."""
    signs = rng.bit_generator.random_raw(array.size).reshape(array.shape) & _SIGN
    step = np.asarray(ulps * ulp(array, bits)).view(np.uint64) | signs
    return array + step.view(np.float64)


def rms(array: Array, per_channel: bool = False) -> Array:
    """Root mean square of all elements, or of each channel (the last axis)."""
    if per_channel and array.ndim < 2:
        return np.abs(array)
    rows = array.reshape(-1, array.shape[-1]) if per_channel else array.reshape(-1, 1)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        square = np.einsum("nc,nc->c", rows, rows) if per_channel else np.dot(rows[:, 0], rows[:, 0])
    plain = np.sqrt(square / len(rows))
    if np.all((plain > 1e-150) & (plain < 1e150)):
        return plain
    return _rms_of_extremes(rows) if per_channel else _rms_of_extremes(rows)[0]


def _rms_of_extremes(rows: Array) -> Array:
    """By the largest element first: the square of a number near the largest float is infinite, of a tiny one 0."""
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
        """How many ulps rounding moves a sum of `count` products: `sqrt(count / 12)`, and at least 1.

        Coarser dtypes accumulate in float32, and are rounded once.
        """
        return max(1.0, (count / 12) ** 0.5) if self.bits >= MANTISSA_BITS["float32"] else 1.0


def unit_of(dtype: DType, precision: str = "highest") -> Unit:
    """One ulp of the working dtype, or of the matrix product's operands where they are coarser.

    In bfloat16 statistics stay in float32.
    """
    bits = MANTISSA_BITS[dtype]
    coarser = min(bits, MANTISSA_BITS.get(precision, bits)) if dtype == "float32" else bits
    return Unit(coarser, max(bits, MANTISSA_BITS["float32"]))


@dataclass(frozen=True)
class _MovedBackend:
    """The reference with everything moved by one ulp of a unit at every update."""

    reference: NumpyBackend
    unit: Unit
    rng: np.random.Generator

    def learner(self, spec: ModelSpec, weights: Weights, dtype: DType) -> "_MovedLearner":
        """A learner that is moved before every update."""
        del dtype
        return _MovedLearner(NumpyLearner(spec, weights, self._parts()), self.unit, self.rng)

    def population(
        self,
        spec: ModelSpec,
        weights: Weights,
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> NumpyPopulation:
        """A population that is moved at its start."""
        del dtype
        moved = move_state(weights, self.unit, self.rng), move_one_ulp(inputs, self.unit.bits, self.rng)
        return NumpyPopulation(spec, moved[0], learning_rates, moved[1], labels, self._parts())

    def _parts(self) -> Parts:
        return _Rounding(self.unit, self.rng).of(self.reference.parts)


@dataclass(frozen=True)
class _Rounding:
    """Rounding, simulated where the parts of the reference meet."""

    unit: Unit
    rng: np.random.Generator

    def _move(self, array: Array, ulps: float = 1.0) -> Array:
        return move_one_ulp(array, self.unit.bits, self.rng, ulps)

    def _moving(self, part: Callable[..., tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
        return lambda *arguments: tuple(self._move(array) for array in part(*arguments))

    def of(self, parts: Parts) -> Parts:
        """The parts, with what each of them gives moved."""

        def linear(x: Array, kernel: Array, bias: Array) -> tuple[Array, Callable]:
            z, pullback = parts.linear(x, kernel, bias)
            return self._move(z, self.unit.ulps_of_sum(x.shape[-1])), lambda dz: pullback(self._move(dz))

        def batch_moments(x: Array) -> tuple[Array, Array, Callable]:
            mean, var, pullback = parts.batch_moments(x)
            bits = self.unit.statistic_bits
            return move_one_ulp(mean, bits, self.rng), move_one_ulp(var, bits, self.rng), pullback

        def normalize(*arguments: Any) -> tuple[Array, Callable]:
            y, pullback = parts.normalize(*arguments)
            return self._move(y), self._moving(pullback)

        def dropout(*arguments: Any) -> tuple[Array, Callable]:
            y, pullback = parts.dropout(*arguments)
            return self._move(y), lambda dy: self._move(pullback(dy))

        def objective(logits: Array, labels: NDArray[np.integer]) -> tuple[Any, Array]:
            loss, dlogits = parts.objective(logits, labels)
            return loss, self._move(dlogits)

        moved = {"linear": linear, "batch_moments": batch_moments, "normalize": normalize, "dropout": dropout}
        return replace(parts, objective=objective, **moved)


def move_state(weights: Weights, unit: Unit, rng: np.random.Generator) -> Weights:
    """Every weight and statistic moved by one ulp."""
    return {
        name: move_one_ulp(array, unit.statistic_bits if is_statistic(name) else unit.bits, rng)
        for name, array in weights.items()
    }


class _MovedLearner:
    def __init__(self, learner: NumpyLearner, unit: Unit, rng: np.random.Generator) -> None:
        self._learner, self._unit, self._rng = learner, unit, rng

    def _move(self) -> None:
        self._learner.move(lambda weights: move_state(weights, self._unit, self._rng))

    def _moved(self, inputs: Array) -> Array:
        return move_one_ulp(inputs, self._unit.bits, self._rng)

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, **imposed: Any) -> Step:
        self._move()
        return self._learner.train_step(self._moved(inputs), labels, learning_rate, **imposed)

    def evaluate(self, inputs: Array, **imposed: Any) -> Array:
        self._move()
        return self._learner.evaluate(self._moved(inputs), **imposed)

    def activations(self, inputs: Array, **imposed: Any) -> Weights:
        self._move()
        return self._learner.activations(self._moved(inputs), **imposed)

    def weights(self) -> Weights:
        return self._learner.weights()


@dataclass(frozen=True)
class Witness:
    """What the reference shows of an episode, and how far rounding moves each tensor of it.

    Args:
        recording: of the reference as it is.
        floors: the noise floor of each tensor; shape () or (channels,).
    """

    recording: Recording
    floors: Mapping[Key, Array]


def witness(
    reference: NumpyBackend, episode: Episode, unit: Unit, patterns: Mapping | None = None, draws: int = DRAWS
) -> Witness:
    """Play an episode on the reference, and measure its noise floor.

    For a tensor `T` and draws `T_k`::

        floor = max_k RMS(T_k - T) + ulp(RMS(T))

    over all of its elements, or channel by channel where the episode asks for that. The ulp is the unit's; of a
    tensor that is a residue of larger ones, it is that of their size.

    Args:
        reference: honest, or with a fault.
        episode: what to play.
        unit: the rounding that is allowed.
        patterns: active units to impose on the reference and on its draws.
        draws: how many.
    """
    recording = play(reference, episode, "float64", patterns)
    spread: dict[Key, Array] = {}
    for seed in range(draws):
        moved = _MovedBackend(reference, unit, np.random.default_rng([seed, len(episode.batches)]))
        other = play(moved, episode, "float64", patterns)  # pyright: ignore[reportArgumentType]
        for key, array in recording.tensors.items():
            change = rms(other.tensors[key] - array, episode.per_channel)
            spread[key] = np.maximum(spread[key], change) if key in spread else change
    floors = {}
    for key, array in recording.tensors.items():
        size = rms(recording.scales.get(key, array), episode.per_channel)
        floors[key] = spread[key] + ulp(size, unit.bits)
    return Witness(recording, floors)


def witness_all(
    reference: NumpyBackend, episodes: Sequence[Episode], unit: Unit, patterns: Sequence[Mapping] | None = None
) -> list[Witness]:
    """`witness` of one episode after the other; a network that blows up runs through inf and nan."""
    with np.errstate(all="ignore"):
        return [
            witness(reference, episode, unit, None if patterns is None else patterns[index])
            for index, episode in enumerate(episodes)
        ]
