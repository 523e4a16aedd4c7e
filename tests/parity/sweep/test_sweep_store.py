"""What is done is kept, found again by the same sweep, and by no other."""

import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_backend import CrashingBackend, FakeBackend, small_config

import parity
from parity import InputError
from parity.backend import Backend
from parity.sweep.grid import Group, LearningRates
from parity.sweep.identity import Identity
from parity.sweep.records import Status, Trial
from parity.sweep.store import Store

GROUP = Group("numpy", 2, True, 3)
TRAINED = Trial(
    group=GROUP, learning_rate=0.1, status=Status.TRAINED, steps=376, initial_loss=2.3, final_loss=1 / 3,
    train_loss=0.1 + 0.2, train_accuracy=0.9, test_loss=math.inf, test_accuracy=0.8,
    losses=np.array([2.3, 1.5], np.float32),
)  # fmt: skip
DIVERGED = Trial(
    group=GROUP, learning_rate=1e-300, status=Status.DIVERGED, steps=0, initial_loss=math.nan,
    losses=np.array([math.nan, -math.inf], np.float32),
)  # fmt: skip


@pytest.mark.parametrize("trial", [TRAINED, DIVERGED, replace(TRAINED, learning_rate=math.pi, status=Status.STUCK)])
def test_trial_comes_back_to_the_last_bit(tmp_path: Path, trial: Trial) -> None:
    with Store(tmp_path / "sweep.sqlite", Identity()) as store:
        store.record([trial])
    with Store(tmp_path / "sweep.sqlite", Identity()) as store:
        found = store.find(GROUP)
    assert list(found) == [trial.learning_rate]
    # As text, in which nan equals itself.
    assert repr(found[trial.learning_rate]) == repr(trial)
    assert found[trial.learning_rate].losses.tobytes() == trial.losses.tobytes()


@pytest.mark.parametrize(
    "other",
    [
        replace(GROUP, framework="jax"),
        replace(GROUP, depth=1),
        replace(GROUP, batch_norm=False),
        replace(GROUP, seed=0),
    ],
)
def test_group_finds_only_its_own_trials(other: Group) -> None:
    with Store(None, Identity()) as store:
        store.record([TRAINED, DIVERGED, replace(TRAINED, group=other, learning_rate=0.2)])
        assert list(store.find(GROUP)) == [1e-300, 0.1]
        assert list(store.find(other)) == [0.2]


def test_crashed_trial_is_not_found_and_gives_way_to_a_later_one() -> None:
    with Store(None, Identity()) as store:
        store.record([replace(TRAINED, status=Status.ERROR)])
        assert store.find(GROUP) == {}
        store.record([TRAINED])
        assert list(store.find(GROUP)) == [0.1]


def test_block_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    unkeepable: Any = replace(TRAINED, learning_rate="a word")  # the table takes numbers only
    with Store(tmp_path / "sweep.sqlite", Identity()) as store:
        with pytest.raises(InputError, match="cannot store TEXT value"):
            store.record([TRAINED, unkeepable])
        assert store.find(GROUP) == {}


# refusals


def refused(path: Path, identity: dict[str, Any] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        Store(path, Identity(identity or {}))
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


def test_file_that_is_not_sqlite_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sweep.sqlite"
    path.write_text("my notes\n" * 100)
    assert "not a database" in refused(path)
    assert path.read_text() == "my notes\n" * 100


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.sqlite").mkdir()
    assert "unable to open" in refused(tmp_path / "sweep.sqlite")


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "sweep.sqlite")
    connection.execute("CREATE TABLE trials (patient TEXT, drug TEXT)")
    connection.close()
    refused(tmp_path / "sweep.sqlite")


def test_another_identity_is_refused_with_every_difference(tmp_path: Path) -> None:
    Store(tmp_path / "sweep.sqlite", Identity({"passes": 2, "seeds": 1, "gone": 5})).__exit__()
    message = refused(tmp_path / "sweep.sqlite", {"passes": 3, "seeds": 1, "new": 7})
    assert "passes is 2 there, 3 here" in message
    assert "gone is 5 there" in message
    assert "new is None there, 7 here" in message
    assert "seeds" not in message


# the sweep on top of it


def test_same_sweep_runs_nothing_again(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    first, second = FakeBackend(), FakeBackend()
    use_backend(first)
    report = parity.sweep(small_config(), out=tmp_path)
    use_backend(second)
    assert parity.sweep(small_config(), out=tmp_path).trials == report.trials
    assert (len(first.asked) > 2, second.asked) == (True, [])


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"num_passes": 3}, "passes is 2 there, 3 here"),
        ({"num_seeds": 2}, "seeds is 1 there, 2 here"),
        ({"depths": (1, 2)}, r"depths is \[1\] there, \[1, 2\] here"),
        ({"batch_norm": (True,)}, r'batch_norm is \["off"\] there, \["on"\] here'),
        ({"frameworks": ("jax",)}, r'framework is \["numpy"\] there, \["jax"\] here'),
        ({"learning_rates": LearningRates(0.0100000001, 100, 5)}, "learning_rates is .* there, .* here"),
        ({"hidden_width": 9}, "hidden_width is 8 there, 9 here"),
        ({"batch_size": 33}, "batch_size is 32 there, 33 here"),
        ({"fraction": 0.06}, "fraction is 0.05 there, 0.06 here"),
        ({"population_size": 4}, "population_size is 3 there, 4 here"),
        ({"residual": True}, "residual is false there, true here"),
    ],
)
def test_changed_sweep_is_refused_before_anything_is_run(
    tmp_path: Path, use_backend: Callable[[Backend], None], changes: dict[str, Any], difference: str
) -> None:
    use_backend(FakeBackend())
    parity.sweep(small_config(), out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    backend = FakeBackend()
    use_backend(backend)
    with pytest.raises(InputError, match=f"{difference}; choose another --out"):
        parity.sweep(small_config(**changes), out=tmp_path)
    assert backend.asked == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_other_version_of_a_framework_is_refused(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(FakeBackend(version="1.0"))
    parity.sweep(small_config(), out=tmp_path)
    use_backend(FakeBackend(version="1.1"))
    with pytest.raises(InputError, match=r"1\.0.* there, .*1\.1.* here"):
        parity.sweep(small_config(), out=tmp_path)


def test_crashed_trials_are_tried_again(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(CrashingBackend(RuntimeError("out of memory")))
    crashed = parity.sweep(small_config(), out=tmp_path)
    use_backend(FakeBackend())
    report = parity.sweep(small_config(), out=tmp_path)
    assert ({trial.status for trial in crashed.trials}, crashed.thresholds) == ({Status.ERROR}, ())
    assert not report.has_errors
    assert len(report.thresholds) == 1


def test_another_programs_database_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sweep.sqlite"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    connection.close()
    before = path.read_bytes()
    assert "another program's database" in refused(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_store_that_is_damaged_later_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sweep.sqlite"
    with Store(path, Identity()) as store:
        store.record(replace(TRAINED, learning_rate=rate) for rate in range(1, 2000))
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    path.write_bytes(content)
    with pytest.raises(InputError, match="choose another --out"), Store(path, Identity()) as store:
        store.find(GROUP)
