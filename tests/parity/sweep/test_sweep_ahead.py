"""What the next families need is compiled while one trains, and a sweep does not depend on it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from fake_backend import FakeBackend, FakePopulation, small_config

import parity
from parity.data import StandardizedData
from parity.divergence import LearningRates
from parity.spec import ModelSpec
from parity.sweep.ahead import MOST_AT_ONCE, compiling_ahead, lower_family


class Compiling(FakeBackend):
    """A backend that remembers what it was asked to compile, and for what it was asked to train."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.events: list[tuple[str, int]] = []
        self.asked_for: list[dict[str, Any]] = []
        self._error = error

    def lower_ahead(self, spec: ModelSpec, **asked: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.asked_for.append(asked)
        if self._error:
            raise self._error

        def program() -> None:
            time.sleep(0.05)  # long enough for whoever does not wait
            self.events.append(("compiled", spec.num_hidden_layers))

        return [program, program]

    def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> FakePopulation:
        self.events.append(("trained", spec.num_hidden_layers))
        return super().population(spec, weights, learning_rates, inputs, labels, dtype)


CONFIG = small_config(depths=(1, 2, 3), learning_rates=LearningRates(0.01, 0.5, 3))


def test_nothing_is_trained_before_it_is_compiled(use_backend: Any, tmp_path: Any) -> None:
    backend = Compiling()
    use_backend(backend)
    report = parity.sweep(CONFIG, out=tmp_path)
    for depth in (1, 2, 3):
        places = [place for place, event in enumerate(backend.events) if event == ("compiled", depth)]
        assert len(places) == 2
        assert max(places) < backend.events.index(("trained", depth))
    asked = {"members": 6, "lanes": 2, "dtype": "float32", "batch_size": 32}
    evaluated = backend.asked_for[0]["evaluated"]
    assert backend.asked_for == [asked | {"samples": evaluated[0], "evaluated": evaluated}] * 3
    assert report.complete
    again = Compiling()
    use_backend(again)
    parity.sweep(CONFIG, out=tmp_path)
    assert (again.events, again.asked_for) == ([], [])  # what is done needs no program


def test_what_has_not_begun_when_a_sweep_ends_is_left(small_data: StandardizedData) -> None:
    config = replace(CONFIG, depths=tuple(range(1, MOST_AT_ONCE + 5)))
    begun, traced, may_go_on = threading.Event(), threading.Event(), threading.Event()
    compiled: list[int] = []

    class Slow(Compiling):
        def lower_ahead(self, spec: ModelSpec, **asked: Any) -> list[Callable[[], None]]:
            def program() -> None:
                begun.set()
                may_go_on.wait(30)
                compiled.append(spec.num_hidden_layers)

            if spec.num_hidden_layers == config.depths[-1]:
                traced.set()
            return [program]

    backend = Slow()

    def interrupted() -> None:
        lowerings = {family: partial(lower_family, backend, config, family, small_data) for family in config.families()}
        with compiling_ahead(lowerings):
            assert traced.wait(30)
            assert begun.wait(30)
            time.sleep(0.1)  # for the last to be handed over
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    may_go_on.set()
    for thread in [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]:
        thread.join(30)
    assert 1 <= len(compiled) <= MOST_AT_ONCE


def test_a_compilation_that_fails_is_not_the_sweeps_end(use_backend: Any) -> None:
    trials = []
    for backend in (FakeBackend(), Compiling(RuntimeError("no"))):
        use_backend(backend)
        trials.append(parity.sweep(CONFIG).trials)
    assert trials[0] == trials[1]


def test_a_jax_family_finds_all_compiled() -> None:
    """As a sweep's own process has it, on as many devices as there are cores."""
    pytest.importorskip("jax")
    found = json.loads(subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True).stdout)
    assert found["devices"] == 2
    assert found["statuses"] == ["trained"]
    assert found["compiled after lowering ahead"] == 0
    assert found["compiled otherwise"] > 0  # or the event that is counted has another name


PROBE = """
import json, os
from functools import partial
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""
import jax
import parity
from parity.backend import load_backend
from parity.sweep.ahead import compiling_ahead, lower_family
from parity.sweep.train import train

jax.config.update("jax_enable_compilation_cache", False)
seen = []
jax.monitoring.register_event_duration_secs_listener(lambda name, seconds, **_: seen.append(name))


def programs():
    return sum("backend_compile" in name for name in seen)


backend, data = load_backend("jax"), parity.standardize(parity.load_dataset("synthetic"))
found = {"devices": len(jax.devices())}
for words, depth, ahead in (("compiled otherwise", 2, False), ("compiled after lowering ahead", 3, True)):
    config = parity.SweepConfig(
        frameworks=("jax",), depths=(depth,), batch_norm=(True,), num_seeds=3, num_passes=1, population_size=2,
        hidden_width=8, dataset="synthetic", learning_rates=parity.LearningRates(0.1, 0.2, 2),
    )
    (family,) = config.families()
    lowering = partial(lower_family, backend, config, family, data)
    with compiling_ahead({family: lowering} if ahead else {}) as wait_for:
        wait_for(family)
        before = programs()
        trials = train(backend, config, {group: config.learning_rates.values() for group in family}, data)
    found[words] = programs() - before
found["statuses"] = sorted({str(trial.status) for own in trials.values() for trial in own.values()})
print(json.dumps(found))
"""
