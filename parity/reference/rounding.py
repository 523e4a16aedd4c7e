"""The reference with rounding simulated: what its noise floor is drawn from.

Every weight, statistic and input is moved by one ulp of the working dtype at every update, and so is what every part of
the network gives, forward and backward. Moving what goes in is not enough. Beside a large bias a sum is rounded at its
own size and not at its operands' (and moving the bias would shift a whole batch, which batch norm takes out); and where
gradients cancel, as they do before batch norm, what is left is the rounding of the terms.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Step
from parity.reference.backend import NumpyBackend, NumpyLearner, NumpyPopulation
from parity.reference.parts import Parts
from parity.spec import DType, ModelSpec
from parity.verdict.noise import Unit, move_one_ulp
from parity.weights import Array, Weights, is_statistic


@dataclass(frozen=True)
class RoundingBackend:
    """The reference, with everything moved by one ulp of a unit at every update.

    Args:
        reference: honest, or with a fault.
        unit: the rounding that is allowed.
        rng: draws the signs.
    """

    reference: NumpyBackend
    unit: Unit
    rng: np.random.Generator

    def learners(self, spec: ModelSpec, weights: Mapping[str, Array], draws: int) -> "RoundingLearner":
        """Return many learners as one, each moved before every update; arrays have the shape (draws, 1, ...)."""
        learner = NumpyLearner(spec, weights, self.parts)
        learner.stack(draws)
        return RoundingLearner(learner, self.unit, self.rng, draws)

    def population(
        self,
        spec: ModelSpec,
        weights: Weights,
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> NumpyPopulation:
        """Return a population that is moved at its start."""
        moved = move_state(weights, self.unit, self.rng), move_one_ulp(inputs, self.unit.bits, self.rng)
        return NumpyPopulation(spec, moved[0], learning_rates, moved[1], labels, self.parts)

    @property
    def parts(self) -> Parts:
        """The parts of the reference, with what each of them gives moved."""
        return rounding_parts(self.reference.parts, self.unit, self.rng)


def rounding_parts(parts: Parts, unit: Unit, rng: np.random.Generator) -> Parts:
    """Return the parts, with what each of them gives moved."""

    def move(array: Array, ulps: float = 1.0) -> Array:
        return move_one_ulp(array, unit.bits, rng, ulps)

    def move_statistic(statistic: Array) -> Array:
        return move_one_ulp(statistic, unit.statistic_bits, rng)

    def linear(x: Array, kernel: Array, bias: Array) -> tuple[Array, Callable]:
        z, pullback = parts.linear(x, kernel, bias)
        return move(z, unit.ulps_of_sum(x.shape[-1])), lambda dz: pullback(move(dz))

    def batch_moments(x: Array) -> tuple[Array, Array, Callable]:
        mean, var, pullback = parts.batch_moments(x, move_statistic)
        return mean, move_statistic(var), pullback

    def normalize(*arguments: Any) -> tuple[Array, Callable]:
        y, pullback = parts.normalize(*arguments)
        return move(y), lambda dy: tuple(move(array) for array in pullback(dy))

    def dropout(*arguments: Any) -> tuple[Array, Callable]:
        y, pullback = parts.dropout(*arguments)
        return move(y), lambda dy: move(pullback(dy))

    def objective(logits: Array, labels: NDArray[np.integer]) -> tuple[Any, Array]:
        loss, dlogits = parts.objective(logits, labels, move)
        return loss, move(dlogits)

    return replace(
        parts,
        linear=linear,
        batch_moments=batch_moments,
        normalize=normalize,
        dropout=dropout,
        objective=objective,
        layers={layer: rounding_parts(own, unit, rng) for layer, own in parts.layers.items()},
    )


def move_state(weights: Mapping[str, Array], unit: Unit, rng: np.random.Generator) -> Weights:
    """Move every weight and statistic by one ulp."""
    return {
        name: move_one_ulp(array, unit.statistic_bits if is_statistic(name) else unit.bits, rng)
        for name, array in weights.items()
    }


class RoundingLearner:
    """Learners whose states are moved before every update, and before the first call; inputs before every call."""

    def __init__(self, learner: NumpyLearner, unit: Unit, rng: np.random.Generator, draws: int) -> None:
        self._learner, self._unit, self._rng, self._draws = learner, unit, rng, draws
        self._is_moved = False

    def _move(self) -> None:
        self._learner.move(lambda weights: move_state(weights, self._unit, self._rng))
        self._is_moved = True

    def _start(self) -> None:
        if not self._is_moved:
            self._move()

    def _moved(self, inputs: Array) -> Array:
        stacked = np.broadcast_to(np.asarray(inputs, np.float64), (self._draws, 1, *np.shape(inputs)))
        return move_one_ulp(stacked, self._unit.bits, self._rng)

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, **imposed: Any) -> Step:
        """Take one SGD update in train mode."""
        self._move()
        return self._learner.train_step(self._moved(inputs), labels, learning_rate, **imposed)

    def evaluate(self, inputs: Array, **imposed: Any) -> Array:
        """Return logits in evaluation mode."""
        self._start()
        return self._learner.evaluate(self._moved(inputs), **imposed)

    def activations(self, inputs: Array, **imposed: Any) -> Weights:
        """Return what each part of each hidden layer gives in evaluation mode."""
        self._start()
        return self._learner.activations(self._moved(inputs), **imposed)

    def weights(self) -> Weights:
        """Return a copy of the state."""
        return self._learner.weights()
