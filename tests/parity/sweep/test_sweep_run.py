"""Training the trials of a sweep: on populations that only play back losses, and on every backend."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_backend import CrashingBackend, FakeBackend, FakePopulation, falls_or_explodes, small_config
from numpy.typing import NDArray

from parity.backend import Backend, PassRecord
from parity.data import StandardizedData
from parity.divergence import LearningRates, Status, drive
from parity.spec import DType
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.records import Trial
from parity.sweep.run import search_groups
from parity.sweep.train import train

GROUP = Group("fake", 1, False, 0)
EVALUATED = ("final_loss", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


def cut_data(data: StandardizedData, num_train: int) -> StandardizedData:
    return replace(data, train_inputs=data.train_inputs[:num_train], train_labels=data.train_labels[:num_train])


def run_block(
    backend: Any, config: SweepConfig, group: Group, data: StandardizedData, rates: Sequence[float]
) -> dict[float, Trial]:
    return train(backend, config, {group: rates}, data)[group]


def run_group(config: SweepConfig, run: Callable[[Sequence[float]], Mapping[float, Trial]]) -> list[Trial]:
    return drive(search_groups(config, [GROUP]), lambda wanted: {group: run(rates) for group, rates in wanted.items()})[
        GROUP
    ]


# on populations that play back losses


def test_population_is_padded_with_its_last_rate(small_data: StandardizedData) -> None:
    backend = FakeBackend()
    trials = run_block(backend, small_config(population_size=5), GROUP, small_data, [0.1, 0.2])
    assert backend.asked == [[0.1, 0.2, 0.2, 0.2, 0.2]]
    assert list(trials) == [0.1, 0.2]


def test_training_ends_early_once_all_have_diverged(small_data: StandardizedData) -> None:
    backend = FakeBackend()
    config = small_config(num_passes=4)
    run_block(backend, config, GROUP, small_data, [1.0, 2.0])
    run_block(backend, config, GROUP, small_data, [0.5, 2.0])
    assert [population.updates for population in backend.populations] == [16, 64]


def test_rise_after_a_low_point_does_not_end_training(small_data: StandardizedData) -> None:
    # Each pass starts at a loss that its own mean exceeds by far; the run's first loss is what counts.
    backend = FakeBackend(lambda rate, update: 0.05 if update in (31, 62) else 1.5)
    trial = run_block(backend, small_config(batch_size=16, num_passes=3), GROUP, small_data, [0.1])[0.1]
    assert (trial.status, trial.steps) == (Status.TRAINED, 93)


def test_diverged_trial_counts_its_updates_and_has_no_final_values(small_data: StandardizedData) -> None:
    trial = run_block(FakeBackend(), small_config(), GROUP, small_data, [0.5, 2.0])[2.0]
    assert (trial.status, trial.steps, trial.initial_loss) == (Status.DIVERGED, 3, 2.0)
    assert [getattr(trial, name) for name in EVALUATED] == [None] * 5
    assert trial.losses.tolist() == [2.0, 2.0, 2.0, math.inf]  # the offending loss is kept


def test_finished_trial_has_all_of_its_values(small_data: StandardizedData) -> None:
    trial = run_block(FakeBackend(), small_config(), GROUP, small_data, [0.25, 0.5])[0.5]
    losses = [falls_or_explodes(0.5, t) for t in range(32)]
    assert (trial.status, trial.steps, trial.initial_loss, trial.message) == (Status.TRAINED, 32, 2.0, "")
    assert trial.final_loss == np.mean(losses)
    assert (trial.train_loss, trial.train_accuracy) == (trial.test_loss, trial.test_accuracy) == (2.0, 0.5 / 1.5)
    assert trial.losses.tolist() == np.array(losses, np.float32).tolist()


def test_trial_that_never_falls_is_stuck(small_data: StandardizedData) -> None:
    trials = run_block(FakeBackend(lambda rate, update: 2.3), small_config(), GROUP, small_data, [0.1])
    assert trials[0.1].status is Status.STUCK


def test_float64_losses_beyond_float32_are_no_warning(small_data: StandardizedData) -> None:
    backend = FakeBackend(lambda rate, update: (2.0, 2e30, 2e60)[min(update, 2)], ("float64",))
    trial = run_block(backend, small_config(), GROUP, small_data, [0.1])[0.1]
    assert (trial.status, trial.message) == (Status.DIVERGED, "")
    assert trial.losses[:3].tolist() == [2.0, np.float32(2e30), math.inf]


@pytest.mark.parametrize(("num_train", "num_passes"), [(80, 16), (160, 8), (320, 4)])
@pytest.mark.parametrize("explodes_at", [1, 5, 19, 20, 21, 39])
def test_diverged_trial_is_the_same_however_long_a_pass_is(
    small_data: StandardizedData, num_train: int, num_passes: int, explodes_at: int
) -> None:
    def run(num_train: int, num_passes: int) -> Trial:
        backend = FakeBackend(lambda rate, update: 1.0 if update < explodes_at else 100.0)
        data = cut_data(small_data, num_train)
        return run_block(backend, small_config(batch_size=8, num_passes=num_passes), GROUP, data, [0.5])[0.5]

    whole, cut = run(480, 3), run(num_train, num_passes)
    assert cut == whole
    assert whole.status is Status.DIVERGED
    assert cut.losses.tolist() == whole.losses.tolist()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("\nout of memory\n  at line 3"), "RuntimeError: out of memory at line 3"),
        (ValueError("bad shape"), "ValueError: bad shape"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_crash_is_an_error_for_each_rate_with_one_line(
    small_data: StandardizedData, error: Exception, message: str
) -> None:
    trials = run_block(CrashingBackend(error), small_config(), GROUP, small_data, [0.1, 0.2])
    assert list(trials) == [0.1, 0.2]
    for rate, trial in trials.items():
        assert trial == Trial(group=GROUP, learning_rate=rate, status=Status.ERROR, message=trial.message)
        assert trial.message.rstrip(":") == message


def test_interruption_is_no_crash(small_data: StandardizedData) -> None:
    def interrupt(rate: float, update: int) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_block(FakeBackend(interrupt), small_config(), GROUP, small_data, [0.1])


@pytest.mark.parametrize(("offered", "used"), [(("float64",), "float64"), (("float64", "float32"), "float32")])
def test_working_dtype_is_float32_where_the_backend_has_it(
    small_data: StandardizedData, offered: tuple[DType, ...], used: DType
) -> None:
    backend = FakeBackend(dtypes=offered)
    run_block(backend, small_config(), GROUP, small_data, [0.1])
    assert backend.asked_dtypes == [used]


# run_group


def test_group_runs_its_grid_and_then_bisects() -> None:
    asked: list[list[float]] = []

    def run(rates: Sequence[float]) -> Mapping[float, Trial]:
        asked.append(list(rates))
        return {r: Trial(group=GROUP, learning_rate=r, status=Status.TRAINED if r < 1 else Status.STUCK) for r in rates}

    config = small_config(learning_rates=LearningRates(0.0625, 16, 5), population_size=3)
    trials = run_group(config, run)
    rates = [trial.learning_rate for trial in trials]
    assert asked[0] == list(config.learning_rates.values())
    assert [len(block) for block in asked] == [5, 3, 3]  # the grid; halving 4 times, 2 at once: a third needs 7 rates
    assert rates == sorted(rates)
    assert len(rates) == 9  # 5 on the grid and 4 on the path; the rest was only a guess
    stable, failed = (max(r for r in rates if r < 1), min(r for r in rates if r >= 1))
    assert failed / stable < 1.1


def test_group_without_a_bracket_is_its_grid() -> None:
    def run(rates: Sequence[float]) -> Mapping[float, Trial]:
        return {rate: Trial(group=GROUP, learning_rate=rate, status=Status.TRAINED) for rate in rates}

    config = small_config()
    assert [t.learning_rate for t in run_group(config, run)] == list(config.learning_rates.values())


# on every backend


@pytest.mark.parametrize("batch_norm", [False, True])
def test_small_rate_ends_and_huge_rate_diverges(
    backend: Backend, small_data: StandardizedData, batch_norm: bool
) -> None:
    group = Group(backend.name, 1, batch_norm, 0)
    config = small_config(batch_norm=(batch_norm,))
    trials = run_block(backend, config, group, small_data, [0.01, 0.3, 1e5])
    assert [trial.status for trial in trials.values()] == [trials[0.01].status, Status.TRAINED, Status.DIVERGED]
    assert trials[0.01].status in (Status.TRAINED, Status.STUCK)
    assert all(isinstance(getattr(trials[0.3], name), float) for name in EVALUATED)
    assert trials[0.3].steps == 32
    assert len({trial.initial_loss for trial in trials.values()}) == 1


def test_trial_ends_the_same_in_any_population(backend: Backend, small_data: StandardizedData) -> None:
    config, group = small_config(), Group(backend.name, 1, False, 0)
    populations = ([0.3], [1e5], [0.3, 1e5], [1e5, 0.01, 0.3])
    endings: dict[float, set[tuple[Status, int | None]]] = {}
    for rates in populations:
        for rate, trial in run_block(backend, config, group, small_data, rates).items():
            endings.setdefault(rate, set()).add((trial.status, trial.steps))
    assert all(len(ending) == 1 for ending in endings.values())


def test_a_crash_at_the_middle_of_a_bracket_leaves_one_row_for_each_rate() -> None:
    crashed: set[float] = set()

    def run(rates: Sequence[float]) -> dict[float, Trial]:
        trials = {}
        for rate in rates:
            status = Status.TRAINED if rate < 0.5 else Status.DIVERGED
            if rate == pytest.approx(0.1) and rate not in crashed:
                crashed.add(rate)
                status = Status.ERROR
            trials[rate] = Trial(group=GROUP, learning_rate=rate, status=status)
        return trials

    config = small_config(learning_rates=LearningRates(0.01, 1, 3), population_size=1)
    rates = [trial.learning_rate for trial in run_group(config, run)]
    assert len(rates) == len(set(rates))


def test_a_backend_that_returns_another_shape_is_an_error(small_data: StandardizedData) -> None:
    class Short(FakePopulation):
        def run_pass(self, indices: NDArray) -> PassRecord:
            return super().run_pass(indices[:3])

    class ShortBackend(FakeBackend):
        def population(self, spec, weights, learning_rates, inputs, labels, dtype) -> FakePopulation:
            return Short(falls_or_explodes, learning_rates)

    trial = run_block(ShortBackend(), small_config(), GROUP, small_data, [0.1])[0.1]
    assert trial.status is Status.ERROR
    assert "must have shape" in trial.message


def test_groups_are_asked_for_together_until_each_has_its_own_end() -> None:
    boundaries = {
        Group("fake", 1, False, 0): 0.5,
        Group("fake", 1, False, 1): math.inf,
        Group("fake", 1, False, 2): 2.0,
    }
    asked: list[set[int]] = []

    def run(wanted: Mapping[Group, Sequence[float]]) -> dict[Group, dict[float, Trial]]:
        asked.append({group.seed for group in wanted})
        return {
            group: {
                rate: Trial(
                    group=group,
                    learning_rate=rate,
                    status=Status.TRAINED if rate < boundaries[group] else Status.DIVERGED,
                )
                for rate in rates
            }
            for group, rates in wanted.items()
        }

    config = small_config(num_seeds=3, learning_rates=LearningRates(0.0625, 16, 5))
    found = drive(search_groups(config, list(boundaries)), run)
    assert asked == [{0, 1, 2}, {0, 2}, {0, 2}]
    for group, boundary in boundaries.items():
        rates = [trial.learning_rate for trial in found[group] if trial.status is Status.TRAINED]
        assert max(rates) < boundary
        assert boundary == math.inf or boundary / max(rates) < 1.1
