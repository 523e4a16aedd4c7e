"""A backend whose losses are given by a function, so that a sweep takes no time and every ending can be had."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Evaluation, Learner, PassRecord
from parity.divergence import LearningRates
from parity.spec import DType, ModelSpec
from parity.sweep.grid import SweepConfig
from parity.weights import Array, Weights

Loss = Callable[[float, int], float]  # of the learning rate and the update


def falls_or_explodes(rate: float, update: int) -> float:
    """Below a learning rate of 1 the loss falls, from there on it is infinite after a few updates."""
    return 2.0 / (1 + rate * update) if rate < 1 else 2.0 if update < 3 else np.inf


class FakePopulation:
    """A `parity.backend.Population` that learns nothing."""

    def __init__(self, loss: Loss, learning_rates: Sequence[float]) -> None:
        self._loss, self._learning_rates, self.updates = loss, learning_rates, 0

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        updates = range(self.updates, self.updates + len(indices))
        self.updates += len(indices)
        losses = np.array([[self._loss(rate, t) for rate in self._learning_rates] for t in updates])
        return PassRecord(losses=losses, finite=np.isfinite(losses))

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        rates = np.array(self._learning_rates)
        return Evaluation(loss=1 / rates, accuracy=rates / (1 + rates))

    def weights(self, member: int) -> Weights:
        raise NotImplementedError


class FakeBackend(Backend):
    """A `parity.backend.Backend` that remembers which populations it was asked for."""

    name = "fake"

    def __init__(
        self, loss: Loss = falls_or_explodes, dtypes: Sequence[DType] = ("float32",), version: str = "1"
    ) -> None:
        self.dtypes, self._loss, self._version = dtypes, loss, version
        self.asked: list[list[float]] = []
        self.asked_dtypes: list[DType] = []
        self.populations: list[FakePopulation] = []

    def versions(self) -> dict[str, str]:
        return {"fake": self._version}

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> FakePopulation:
        self.asked.append(list(learning_rates))
        self.asked_dtypes.append(dtype)
        self.populations.append(FakePopulation(self._loss, learning_rates))
        return self.populations[-1]

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        raise NotImplementedError

    def to_native(self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Any = None) -> Any:
        raise NotImplementedError

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        raise NotImplementedError


class CrashingBackend(FakeBackend):
    """A backend that raises where it should train."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def population(self, *arguments: Any, **named: Any) -> FakePopulation:
        raise self._error


def small_config(**changes: Any) -> SweepConfig:
    """A sweep of one group, small enough for a test that trains."""
    values: dict[str, Any] = {
        "frameworks": ("numpy",), "depths": (1,), "batch_norm": (False,), "learning_rates": LearningRates(0.01, 100, 5),
        "dataset": "synthetic", "hidden_width": 8, "fraction": 0.05, "population_size": 3,
    }  # fmt: skip
    return SweepConfig(**(values | changes))
