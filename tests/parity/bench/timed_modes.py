"""A backend whose modes are right, wrong, unavailable or crashing; all of them train by the NumPy reference."""

import os
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


class Changing:
    """A population that forgets to update its statistics before it is timed, or once it has been."""

    def __init__(self, honest: Any, early: bool, members: int) -> None:
        self._members, self._frozen = members, {}
        self._honest, self._early, self._calls = honest, early, 0

    def run_pass(self, indices: Any) -> Any:
        self._calls += 1
        is_early = self._calls <= 2  # the warm-up, and the first step that is judged
        self._frozen = {m: self._honest.weights(m) for m in range(self._members)} if is_early == self._early else {}
        return self._honest.run_pass(indices)

    def weights(self, member: int) -> Any:
        weights = self._honest.weights(member)
        old = self._frozen.get(member, {})
        return {name: old.get(name, array) if "running" in name else array for name, array in weights.items()}


@dataclass(frozen=True)
class Wavering(NumpyBackend):
    """Right in float64, and at times wrong in float32."""

    early: bool = True

    def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> Any:
        honest = HONEST.population(spec, weights, learning_rates, inputs, labels, "float64")
        if dtype == "float64":
            return honest
        return Changing(honest, self.early, len(learning_rates))


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
            "wrong_before": Mode(of=lambda backend: Wavering(early=True), many=True),
            "wrong_after": Mode(of=lambda backend: Wavering(early=False), many=True),
            "missing": Mode(of=unavailable),
            "crashing": Mode(of=crashing),
            "slow_to_compile": Mode(of=lambda backend: backend, compiles=True),
        }
        profile = [("a", 3.0), ("b", 1.0)]
        return Modes(named, 1, product, lambda size: nothing, lambda population, indices: profile, {"where": "<here>"})


def nothing() -> None:
    """A copy that takes no time."""


class Faulty(NumpyBackend):
    """Keeps its running statistics as they are."""

    def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> Any:
        faulty = HONEST.with_fault("frozen_running_statistics")
        return faulty.population(spec, weights, learning_rates, inputs, labels, "float64")


class Dying(Any64):
    """Its process ends at the first matrix product."""

    def modes(self) -> Modes:
        loop = {"eager_loop": Mode(of=lambda backend: backend, loop=True)}
        return Modes(loop, 1, lambda left, right: os._exit(3), lambda size: nothing, lambda *given: [], {})


def make(**options: Any) -> Backend:
    return Backend()


def make_dying(**options: Any) -> Dying:
    return Dying()
