"""How far rounding alone moves a computation: the scale that limits in these tests are derived from.

Every weight and statistic of the NumPy reference is moved by one ulp, up or down at random. What that changes is the
noise that any honest float64 implementation must be allowed, whatever its order of summation.
"""

from collections.abc import Mapping

import numpy as np
from honest_reference import train_step
from numpy.typing import NDArray

from parity.backend import Step
from parity.data import Masks
from parity.spec import ModelSpec
from parity.weights import Array, Weights

TWINS = 5
# Two honest implementations differ from the reference by up to 2.1 times the largest twin's distance (measured at
# depths 1, 3 and 8 over 100 steps on both data sets); a real fault by a million times.
SAFETY = 4.0


def move_one_ulp(weights: Mapping[str, Array], rng: np.random.Generator) -> Weights:
    """Every element moved to the next float, up or down at random."""
    return {
        name: np.nextafter(array, np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf))
        for name, array in weights.items()
    }


def rms(array: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def observed(step: Step, weights: Weights) -> Weights:
    """All that a step shows and leaves, by name."""
    gradients = {f"gradient of {name}": array for name, array in step.gradients.items()}
    return {"loss": np.array(step.loss), "logits": step.logits} | gradients | weights


class Twins:
    """The reference, and twins of it in which every weight is moved by one ulp before every step."""

    def __init__(self, spec: ModelSpec, weights: Weights) -> None:
        self._spec, self._weights = spec, weights
        self._twins = [dict(weights) for _ in range(TWINS)]
        self._rngs = [np.random.default_rng(seed) for seed in range(TWINS)]
        self._largest: dict[str, float] = {}

    def step(
        self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, masks: Masks | None = None
    ) -> tuple[Weights, dict[str, float]]:
        """One step of all; what the reference shows, and the limit for each tensor of it.

        The limit is `SAFETY` times the largest distance that any twin has had so far, plus one ulp of the tensor's RMS:
        a scalar that a twin hits exactly is no sharper than that.
        """
        arguments = (inputs, labels, learning_rate, masks)
        self._weights, step = train_step(self._spec, self._weights, *arguments)
        expected = observed(step, self._weights)
        for i, rng in enumerate(self._rngs):
            self._twins[i], step = train_step(self._spec, move_one_ulp(self._twins[i], rng), *arguments)
            for name, array in observed(step, self._twins[i]).items():
                distance = rms(array - expected[name])
                self._largest[name] = max(self._largest.get(name, 0.0), distance)
        limits = {
            name: SAFETY * (self._largest[name] + float(np.spacing(rms(array)))) for name, array in expected.items()
        }
        return expected, limits


def excesses(actual: Weights, expected: Weights, limits: Mapping[str, float]) -> dict[str, str]:
    """The tensors that are further apart than their limit, with how far and what was allowed."""
    assert actual.keys() == expected.keys()
    distances = {name: rms(actual[name] - expected[name]) for name in expected}
    return {
        name: f"{distance:.2e}, allowed {limits[name]:.2e}"
        for name, distance in distances.items()
        if not distance <= limits[name]
    }
