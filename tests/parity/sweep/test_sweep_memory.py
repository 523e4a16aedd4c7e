"""What a sweep needs of memory is said before it starts, and what does not fit is split or refused."""

from importlib import import_module
from typing import Any

import pytest
from fake_backend import FakeBackend, small_config

import parity
from parity.backend import Backend
from parity.data import StandardizedData
from parity.divergence import LearningRates
from parity.errors import InputError
from parity.sweep import memory
from parity.sweep.grid import Group
from parity.sweep.memory import fitting, free_bytes, needed_bytes
from parity.sweep.train import train

GROUPS = [Group("fake", 2, True, seed) for seed in range(3)]


class Small(FakeBackend):
    """A backend on a device that has little memory."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self._free = free

    def free_bytes(self) -> int:
        return self._free


class Padding(Small):
    """A backend that trains lanes, and would have twice as many as a population needs."""

    lanes = 1

    def pad_lanes(self, lanes: int, most: int) -> int:
        return 2 * max(lanes, most)


def need(count: int, backend: Any = None) -> int:
    return needed_bytes(backend or FakeBackend(), small_config(num_seeds=3), GROUPS[:count], 480)


def test_more_of_anything_needs_more() -> None:
    config, backend = small_config(), FakeBackend()
    least = needed_bytes(backend, config, GROUPS[:1], 480)
    assert least > 4 * 480 * 784
    assert needed_bytes(backend, config, GROUPS, 480) > least
    assert needed_bytes(backend, config, GROUPS[:1], 960) > least
    assert needed_bytes(backend, config, [Group("fake", 3, True, 0)], 480) > least
    assert needed_bytes(backend, small_config(population_size=6), GROUPS[:1], 480) > least
    assert needed_bytes(Padding(0), config, GROUPS[:1], 480) > least


def test_a_bisection_is_counted_where_it_has_more_lanes_than_the_grid() -> None:
    config = small_config(population_size=4, learning_rates=LearningRates(0.01, 1.0, 4))
    wider = small_config(population_size=4, learning_rates=LearningRates(0.01, 1.0, 8))
    assert config.lanes_of(3) == wider.lanes_of(3) == 6
    assert needed_bytes(FakeBackend(), config, GROUPS, 480) == needed_bytes(FakeBackend(), wider, GROUPS, 480)


@pytest.mark.parametrize("kind", [Small, Padding])
@pytest.mark.parametrize(("groups", "sizes"), [(3, [3]), (2, [2, 1]), (1, [1, 1, 1])])
def test_groups_are_trained_in_as_few_parts_as_fit(kind: type[Small], groups: int, sizes: list[int]) -> None:
    free = int(need(groups, kind(0)) / memory.SHARE) + 1
    assert [len(part) for part in fitting(kind(free), small_config(num_seeds=3), GROUPS, 480)] == sizes


def test_nothing_is_split_where_nobody_tells_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free_on_host", lambda: None)
    assert [len(part) for part in fitting(FakeBackend(), small_config(), GROUPS, 480)] == [3]


def test_a_split_changes_no_number(small_data: StandardizedData) -> None:
    config, wanted = small_config(num_seeds=3), {group: [0.25, 2.0] for group in GROUPS}
    shares: list[float] = []
    free = int(needed_bytes(FakeBackend(), config, GROUPS[:1], len(small_data.train_labels)) / memory.SHARE) + 1
    split = train(Small(free), config, wanted, small_data, shares.append)
    assert split == train(FakeBackend(), config, wanted, small_data)
    assert shares == sorted(shares)
    assert len(set(shares)) > 3


def test_a_part_is_padded_as_it_was_counted(small_data: StandardizedData) -> None:
    seen: list[int] = []

    class Watched(Padding):
        def population(self, spec, weights, learning_rates, inputs, labels, dtype, lanes=1) -> Any:
            seen.append(len(learning_rates))
            raise MemoryError

    config = small_config(num_seeds=3)
    samples = len(small_data.train_labels)
    free = int(needed_bytes(Watched(0), config, GROUPS[:1], samples) / memory.SHARE) + 1
    train(Watched(free), config, {group: [0.25] for group in GROUPS}, small_data)
    assert seen == [2 * config.lanes_of(1) * config.population_size] * 3


def test_a_group_that_does_not_fit_is_refused_before_anything_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    backend = Small(2**20)
    monkeypatch.setattr(import_module("parity.sweep.prepare"), "load_backend", lambda name: backend)
    with pytest.raises(InputError, match=r"depth 1.* needs about \d+ MiB of memory, and of 1 MiB that are free"):
        parity.sweep(small_config(), out=tmp_path / "out")
    assert backend.asked == []
    assert not (tmp_path / "out").exists()


def test_every_backend_or_the_host_tells_what_is_free(backend: Backend) -> None:
    free = free_bytes(backend)
    assert free is not None
    assert free > 2**20


def test_a_limit_of_the_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_bytes(FakeBackend()) == 2000000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(FakeBackend()) != 2000000
