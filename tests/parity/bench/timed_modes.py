"""A backend whose modes are right, wrong, unavailable or crashing; all of them train by the NumPy reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parity.backend import Mode, Modes
from parity.bench.floor import numpy_seconds
from parity.errors import InputError
from parity.reference import NumpyBackend

HONEST = NumpyBackend()


@dataclass(frozen=True)
class Scaled(NumpyBackend):
    """Trains at twice the learning rate."""

    def population(self, spec, weights, learning_rates: Sequence[float], inputs, labels, dtype) -> Any:
        return HONEST.population(spec, weights, [2 * rate for rate in learning_rates], inputs, labels, "float64")


class Any64(NumpyBackend):
    """Takes every dtype for float64."""

    def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> Any:
        return HONEST.population(spec, weights, learning_rates, inputs, labels, "float64")


def unavailable(backend: Any) -> Any:
    raise InputError("there is no compiler here; install one")


def crashing(backend: Any) -> Any:
    raise RuntimeError("out of <memory>")


class Backend(Any64):
    """The reference, in several modes."""

    def modes(self) -> Modes:
        def product(left: Any, right: Any) -> Any:
            return lambda: numpy_seconds((2, 2), (2, 2))

        named = {
            "eager_loop": Mode(of=lambda backend: backend, loop=True),
            "right": Mode(of=lambda backend: backend, many=True),
            "wrong": Mode(of=lambda backend: Scaled(), many=True),
            "wrong_statistics": Mode(of=lambda backend: Faulty(), many=True),
            "missing": Mode(of=unavailable),
            "crashing": Mode(of=crashing),
            "slow_to_compile": Mode(of=lambda backend: backend, compiles=True),
        }
        return Modes(named, 1, product, lambda population, indices: [("a", 3.0), ("b", 1.0)], {"where": "<here>"})


class Faulty(NumpyBackend):
    """Keeps its running statistics as they are."""

    def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> Any:
        faulty = HONEST.with_fault("frozen_running_statistics")
        return faulty.population(spec, weights, learning_rates, inputs, labels, "float64")


def make(**options: Any) -> Backend:
    return Backend()
