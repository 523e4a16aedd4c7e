"""What is done is kept, found again by the same sweep, and by no other."""

import math
import os
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
from parity.divergence import LearningRates, Status
from parity.sweep import driver, prepare
from parity.sweep.forecast import forecast_sweep
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.identity import Identity
from parity.sweep.lock import locked
from parity.sweep.records import Trial
from parity.sweep.store import Store, stored_words

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


# what a trial is


WHOLE = Identity(
    {"framework": ["numpy"], "depths": [2], "learning_rates": "0.01:1:3", "passes": 2},
    {"numpy": "2.0", "data digest": "abc"},
    {"numpy": {"numpy-backend": "1"}, "jax": {"jax": "1"}},
)


@pytest.mark.parametrize(
    "other",
    [
        replace(WHOLE, fields=dict(WHOLE.fields) | {"passes": 3}),
        replace(WHOLE, environment=dict(WHOLE.environment) | {"data digest": "abd"}),
        replace(WHOLE, environment=dict(WHOLE.environment) | {"numpy": "2.1"}),
        replace(WHOLE, versions=dict(WHOLE.versions) | {"numpy": {"numpy-backend": "2"}}),
    ],
)
def test_the_key_is_of_everything_that_decides_a_trial(other: Identity) -> None:
    assert other.trial_key(GROUP, 0.1) != WHOLE.trial_key(GROUP, 0.1)


def test_the_key_differs_by_group_and_rate_and_not_by_the_grid() -> None:
    groups = [
        GROUP,
        *(replace(GROUP, **{name: value}) for name, value in (("depth", 3), ("batch_norm", False), ("seed", 4))),
    ]
    keys = {WHOLE.trial_key(group, rate) for group in groups for rate in (0.1, math.nextafter(0.1, 1))}
    assert len(keys) == 8
    grown = replace(WHOLE, fields=dict(WHOLE.fields) | {"depths": [2, 9], "learning_rates": "0.01:1:5"})
    grown = replace(grown, versions=dict(WHOLE.versions) | {"jax": {"jax": "2"}})
    assert grown.trial_key(GROUP, 0.1) == WHOLE.trial_key(GROUP, 0.1)


def test_what_has_ended_is_never_changed(tmp_path: Path) -> None:
    with Store(tmp_path / "sweep.sqlite", Identity()) as store:
        store.record([TRAINED])
        store.record([replace(TRAINED, final_loss=7.0), DIVERGED])
        found = store.find(GROUP)
    assert found[TRAINED.learning_rate].final_loss == TRAINED.final_loss
    assert len(found) == 2


# a grid that grows


def grid(**changes: Any) -> SweepConfig:
    return small_config(**({"depths": (1,), "learning_rates": LearningRates(0.01, 1, 3)} | changes))


def test_extend_adds_to_the_grid_and_keeps_what_is_there(
    tmp_path: Path, use_backend: Callable[[Backend], None]
) -> None:
    first, second, third = FakeBackend(), FakeBackend(), FakeBackend()
    use_backend(first)
    parity.sweep(grid(), out=tmp_path)
    use_backend(second)
    with pytest.raises(InputError, match=r"depths is \[1\] there, \[2\] here; .*; --extend adds to its grid"):
        parity.sweep(grid(depths=(2,)), out=tmp_path)
    assert second.asked == []
    report = parity.sweep(grid(depths=(2,)), out=tmp_path, extend=True)
    assert {trial.group.depth for trial in report.trials} == {1, 2}
    assert second.asked == first.asked  # of the new depth; nothing of the old one
    use_backend(third)
    parity.sweep(grid(depths=(1, 2)), out=tmp_path)  # it is that sweep now
    parity.sweep(grid(depths=(1,)), out=tmp_path, extend=True)
    assert third.asked == []
    with pytest.raises(InputError, match="another sweep: depths"):
        parity.sweep(grid(), out=tmp_path)


def test_extend_takes_nothing_away(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(FakeBackend())
    whole = parity.sweep(grid(depths=(1, 2), batch_norm=(False, True), num_seeds=2), out=tmp_path)
    backend = FakeBackend()
    use_backend(backend)
    fewer = grid(depths=(2,), learning_rates=LearningRates(0.01, 1, 2))
    assert parity.sweep(fewer, out=tmp_path, extend=True).trials == whole.trials
    assert backend.asked == []


def test_extend_takes_a_finer_or_wider_grid_of_rates_that_holds_the_old(
    tmp_path: Path, use_backend: Callable[[Backend], None]
) -> None:
    use_backend(FakeBackend())
    parity.sweep(grid(), out=tmp_path)
    with pytest.raises(InputError, match=r"must hold all 3 of 0.01:1:3, and 0.02:1:3 does not; try 0.01:1:5"):
        parity.sweep(grid(learning_rates=LearningRates(0.02, 1, 3)), out=tmp_path, extend=True)
    finer = LearningRates(0.01, 10, 7)
    report = parity.sweep(grid(learning_rates=finer), out=tmp_path, extend=True)
    assert set(finer.values()) <= {trial.learning_rate for trial in report.trials}


@pytest.mark.parametrize("changes", [{"num_passes": 3}, {"hidden_width": 9}, {"fraction": 0.06}, {"dropout_rate": 0.1}])
def test_extend_changes_nothing_but_the_grid(
    tmp_path: Path, use_backend: Callable[[Backend], None], changes: dict[str, Any]
) -> None:
    use_backend(FakeBackend())
    parity.sweep(grid(), out=tmp_path)
    with pytest.raises(InputError, match="holds another sweep"):
        parity.sweep(grid(**changes), out=tmp_path, extend=True)


# two drivers


def test_a_second_driver_is_refused_at_once(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(FakeBackend())
    with locked(tmp_path), pytest.raises(InputError, match=rf"another sweep \(process {os.getpid()} on .*wait until"):
        parity.sweep(small_config(), out=tmp_path)
    parity.sweep(small_config(), out=tmp_path)
    assert ".sweep.lock" not in {path.name for path in tmp_path.iterdir()}


def test_a_lock_that_a_killed_driver_left_is_no_obstacle(
    tmp_path: Path, use_backend: Callable[[Backend], None]
) -> None:
    use_backend(FakeBackend())
    (tmp_path / ".sweep.lock").write_text("bnparity sweep, process 1 on here")
    parity.sweep(small_config(), out=tmp_path)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_only_looks_like_a_lock_is_left_alone(
    tmp_path: Path, kind: str, use_backend: Callable[[Backend], None]
) -> None:
    use_backend(FakeBackend())
    mine = tmp_path / ("mine" if kind == "link" else "out/.sweep.lock")
    (tmp_path / "out").mkdir()
    words = "" if kind == "link" else "my own words"
    mine.write_text(words)
    if kind == "link":
        (tmp_path / "out/.sweep.lock").symlink_to(mine)
    with pytest.raises(InputError, match="cannot lock --out"):
        parity.sweep(small_config(), out=tmp_path / "out")
    assert mine.read_text() == words


# disks


def test_a_full_disk_is_one_line_and_what_was_recorded_stays(tmp_path: Path) -> None:
    path = tmp_path / "sweep.sqlite"
    with Store(path, Identity()) as store:
        store.record([TRAINED])
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        big = np.ones(100_000, np.float32)
        with pytest.raises(InputError, match="full; free some space, and the same command goes on"):
            store.record(
                [replace(TRAINED, learning_rate=0.2, losses=big), replace(TRAINED, learning_rate=0.3, losses=big)]
            )
        assert list(store.find(GROUP)) == [TRAINED.learning_rate]
    with Store(path, Identity()) as store:
        assert list(store.find(GROUP)) == [TRAINED.learning_rate]


def test_a_disk_that_is_full_midway_is_told_once(tmp_path: Path, use_backend, monkeypatch) -> None:
    """The tables cannot be written either then; the first cause is what is to be known."""

    def full(*arguments: Any, **named: Any) -> None:
        raise InputError("the disk is full")

    use_backend(FakeBackend())
    monkeypatch.setattr(Store, "record", full)
    monkeypatch.setattr(driver, "write_tables", lambda *arguments: (_ for _ in ()).throw(InputError("nor this")))
    with pytest.raises(InputError, match="the disk is full"):
        parity.sweep(small_config(), out=tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="root alone can become somebody else")
def test_a_folder_of_somebody_else_is_one_line(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(FakeBackend())
    parity.sweep(small_config(), out=tmp_path / "out")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    before = (tmp_path / "out" / "sweep.sqlite").read_bytes()
    os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"cannot (write to|lock) --out .*Permission denied; choose a"):
            parity.sweep(small_config(), out=tmp_path / "out")
    finally:
        os.seteuid(0)
    assert (tmp_path / "out" / "sweep.sqlite").read_bytes() == before


def test_a_flipped_byte_is_told_or_changes_nothing(tmp_path: Path) -> None:
    """Wherever it is: SQLite sees that its pages are sound, the checksum that a trial is what was recorded."""
    path, identity = tmp_path / "sweep.sqlite", Identity({"passes": 2})
    trials = [replace(TRAINED, learning_rate=float(rate)) for rate in range(1, 60)]
    with Store(path, identity) as store:
        store.record(trials, 1.0, 2.0)
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound, expected = path.read_bytes(), [repr(trial) for trial in trials]
    rng, told = np.random.default_rng(0), list[str]()
    for place in rng.integers(0, len(sound), 300):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            with Store(path, identity) as store:
                found = [repr(trial) for trial in store.find(GROUP).values()]
        except InputError as error:
            told.append(str(error))
        else:
            assert found == expected, f"byte {place}"
        for left in tmp_path.glob("sweep.sqlite-*"):
            left.unlink()
    assert len(told) > 30
    assert [words for words in told if "\n" in words] == []


def test_a_damaged_grid_is_told_when_it_is_extended(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(FakeBackend())
    parity.sweep(grid(), out=tmp_path)
    connection = sqlite3.connect(tmp_path / "sweep.sqlite")
    with connection:
        connection.execute("DELETE FROM sweep WHERE name = 'depths'")
    connection.close()
    with pytest.raises(InputError, match="the store to extend is damaged"):
        parity.sweep(grid(depths=(2,)), out=tmp_path, extend=True)


def test_a_start_that_was_killed_leaves_an_empty_store_that_is_no_obstacle(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    (tmp_path / "sweep.sqlite").touch()
    assert forecast_sweep(grid(), out=tmp_path).plan.done == 0
    parity.sweep(grid(), out=tmp_path)


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_one_line(tmp_path: Path, use_backend, name: str) -> None:
    use_backend(FakeBackend())
    options: Any
    for options in ({}, {"extend": True}):
        with pytest.raises(InputError, match="cannot write to --out"):
            parity.sweep(grid(), out=tmp_path / name, **options)
    assert forecast_sweep(grid(), out=tmp_path / name).plan.done == 0


def test_two_that_extend_do_not_undo_each_other(tmp_path: Path, use_backend, monkeypatch) -> None:
    use_backend(FakeBackend())
    parity.sweep(grid(), out=tmp_path)
    before = stored_words(tmp_path / "sweep.sqlite")
    parity.sweep(grid(depths=(2,)), out=tmp_path, extend=True)
    monkeypatch.setattr(prepare, "stored_words", lambda path: before)  # as it was when the third began
    with pytest.raises(InputError, match=r"another sweep has just changed .*; run the same command again"):
        parity.sweep(grid(depths=(3,)), out=tmp_path, extend=True)
