"""What the next families need is compiled while one trains, and a sweep does not depend on it."""

from collections.abc import Sequence
from typing import Any

import pytest
from fake_backend import FakeBackend, FakePopulation, small_config

import parity
from parity.backend import load_backend
from parity.data import StandardizedData
from parity.sweep.ahead import compiling_ahead
from parity.sweep.grid import LearningRates
from parity.sweep.records import Status
from parity.sweep.train import train


class Compiling(FakeBackend):
    """A backend that remembers what it was asked to compile, and for what it was asked to train."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.events: list[tuple[str, int]] = []
        self._error = error

    def compile_ahead(self, spec, members, lanes, inputs, labels, dtype, batch_size, evaluated: Sequence[int]) -> None:
        self.events.append(("compiled", spec.num_hidden_layers))
        assert (members, lanes, dtype, batch_size) == (3, 1, "float32", 32)
        assert evaluated[0] == len(labels)
        assert len(inputs) == len(labels)
        if self._error:
            raise self._error

    def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> FakePopulation:
        self.events.append(("trained", spec.num_hidden_layers))
        return super().population(spec, weights, learning_rates, inputs, labels, dtype)


CONFIG = small_config(depths=(1, 2, 3), learning_rates=LearningRates(0.01, 0.5, 3))


def test_nothing_is_trained_before_it_is_compiled(use_backend: Any, tmp_path: Any) -> None:
    backend = Compiling()
    use_backend(backend)
    parity.sweep(CONFIG, out=tmp_path)
    for depth in (1, 2, 3):
        assert backend.events.count(("compiled", depth)) == 1
        assert backend.events.index(("compiled", depth)) < backend.events.index(("trained", depth))
    again = Compiling()
    use_backend(again)
    parity.sweep(CONFIG, out=tmp_path)
    assert again.events == []  # what is done needs no program


def test_a_compilation_that_fails_is_not_the_sweeps_end(use_backend: Any) -> None:
    trials = []
    for backend in (FakeBackend(), Compiling(RuntimeError("no"))):
        use_backend(backend)
        trials.append(parity.sweep(CONFIG).trials)
    assert trials[0] == trials[1]


def test_a_jax_family_finds_all_compiled(small_data: StandardizedData) -> None:
    jax = pytest.importorskip("jax")
    backend = load_backend("jax")
    config = small_config(frameworks=("jax",), depths=(3,), population_size=2)
    (family,) = config.families()
    with compiling_ahead(config, {"jax": backend}, small_data, [family]) as wait_for:
        wait_for(family)
        seen: list[str] = []
        jax.monitoring.register_event_duration_secs_listener(lambda name, seconds, **_: seen.append(name))
        trials = train(backend, config, {group: config.learning_rates.values() for group in family}, small_data)
    assert {trial.status for own in trials.values() for trial in own.values()} >= {Status.TRAINED}
    assert not [name for name in seen if "backend_compile" in name]
