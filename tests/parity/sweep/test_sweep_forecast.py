"""What a dry run foretells, on a clock that only training moves."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_backend import FakeBackend

from parity.backend import Backend
from parity.data import StandardizedData
from parity.divergence import LearningRates
from parity.sweep import Execution, SweepConfig, speed
from parity.sweep.ahead import compilers_at_once
from parity.sweep.forecast import forecast_sweep
from parity.sweep.grid import Group
from parity.sweep.plan import LARGEST_LIVING
from parity.sweep.speed import Speed, Speeds, measure_speeds
from parity.sweep.train import Wanted

COMPILING, BLOCK, UPDATE, SAMPLE = 3.0, 0.5, 0.002, 0.0001  # at depth 0; a layer adds as much again


def config(**changes: Any) -> SweepConfig:
    given: dict[str, Any] = {
        "frameworks": ("fake",), "depths": (1, 3), "batch_norm": (True,), "num_passes": 3, "fraction": 0.05,
        "learning_rates": LearningRates(0.01, 100.0, 9), "population_size": 2, "dataset": "synthetic",
    }  # fmt: skip
    return SweepConfig(**(given | changes))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """Training takes what it is to take; returns the groups that were trained, as they were."""
    now, trained = [0.0], []

    def train(backend: Any, config: SweepConfig, wanted: Wanted, data: StandardizedData) -> None:
        (depth,) = {group.depth for group in wanted}
        if depth not in {group.depth for group in trained}:
            now[0] += COMPILING * (1 + depth)
        trained.extend(wanted)
        lanes = sum(-(-len(rates) // config.population_size) for rates in wanted.values())
        updates = config.num_passes * round(len(data.train_labels) / config.batch_size)
        samples = len(data.train_labels) + len(data.test_labels)
        waves = -(-lanes // (backend.lanes or 1))
        now[0] += BLOCK * (1 + depth) + waves * (1 + depth) * (updates * UPDATE + samples * SAMPLE)

    monkeypatch.setattr(speed, "train", train)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return trained


@pytest.mark.parametrize("lanes", [None, 1, 2, 4])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_moment_tells_what_compiling_a_block_an_update_and_a_sample_take(
    lanes: int | None, seeds: int, known: list[Group], small_data: StandardizedData
) -> None:
    backend = FakeBackend()
    backend.lanes = lanes
    found = measure_speeds(backend, config(num_seeds=seeds), "fake", small_data)[True]
    for depth in (1, 2, 3):
        told = found.at(depth)
        expected = [each * (1 + depth) for each in (COMPILING, BLOCK, UPDATE, SAMPLE)]
        assert [told.compiling, told.block, told.update, told.sample] == pytest.approx(expected)
    assert {group.depth for group in known} == {1, 3}


def test_a_very_deep_network_is_not_tried(known: list[Group], small_data: StandardizedData) -> None:
    found = measure_speeds(FakeBackend(), config(depths=(1, 5, 200)), "fake", small_data)[True]
    assert {group.depth for group in known} == {1, 5}
    assert found.at(200).update == pytest.approx(201 * UPDATE)


def test_nothing_takes_less_than_no_time() -> None:
    shallow, deep = Speed(1.0, 1.0, 1.0, 1.0), Speed(0.5, 0.5, 2.0, 1.0)
    told = Speeds((1, shallow), (2, deep)).at(50)
    assert (told.compiling, told.block, told.update, told.sample) == (0.0, 0.0, 50.0, 1.0)


@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_the_forecast_is_the_blocks_that_are_left(
    executor: Any, known: list[Group], use_backend: Callable[[Backend], None], tmp_path: Path
) -> None:
    """Of nine rates five live, three lanes; a bracket of 3.16 takes four halvings, two of them in three trials."""
    use_backend(FakeBackend())
    asked = config(num_seeds=2)
    assert sum(rate <= LARGEST_LIVING for rate in asked.learning_rates.values()) == 5
    told = forecast_sweep(asked, out=tmp_path / "out", execution=Execution(executor=executor))
    assert [planned.lanes for planned in told.plan.groups] == [(3, 2, 2)] * 4
    wave = 3 * 16 * UPDATE + (500 + 2000) * SAMPLE
    seeds = 2 if executor == "in-process" else 1  # that are trained as one block
    once = sum(BLOCK + seeds * lanes * wave for lanes in (3, 2, 2))
    expected = sum((1 + depth) * (once * (2 // seeds) + COMPILING / (1 + compilers_at_once())) for depth in (1, 3))
    assert told.seconds["fake"] == pytest.approx(expected)
    assert told.measured == frozenset()
    assert not (tmp_path / "out").exists()
