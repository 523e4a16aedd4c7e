"""A sweep from its configuration to its files, and through an interruption."""

import contextlib
import csv
import io
import re
import shutil
import signal
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_backend import CrashingBackend, FakeBackend, small_config
from rich.console import Console

import parity
from parity import InputError
from parity.backend import Backend, backend_names
from parity.progress import BarProgress, PlainProgress, SilentProgress, console_progress
from parity.report import write_report
from parity.signals import handle_signals
from parity.sweep import Execution, LearningRates, SweepInterrupted, SweepReport, driver
from parity.sweep.executors import workers_here
from parity.sweep.forecast import forecast_sweep
from parity.sweep.lock import locked
from parity.sweep.memory import SHARE, check_memory, needed_bytes
from parity.sweep.store import Store
from parity.sweep.thresholds import find_threshold

TRIAL_HEADER = (
    "framework,depth,batch_norm,seed,learning_rate,status,steps,initial_loss,final_loss,train_loss,train_accuracy,"
    "test_loss,test_accuracy,message"
)
THRESHOLD_HEADER = (
    "framework,depth,batch_norm,seed,outcome,largest_stable,smallest_divergent,largest_useful,survivors_above,best_learning_rate,"
    "best_test_accuracy"
)
FLOATS = (
    "learning_rate", "initial_loss", "final_loss", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
    "largest_stable", "smallest_divergent", "largest_useful", "best_learning_rate", "best_test_accuracy",
)  # fmt: skip
TABLES = ("trials.csv", "thresholds.csv")

Rows = list[dict[str, str]]


def read(path: Path) -> Rows:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def group_key(row: dict[str, str]) -> tuple[str, int, bool, int]:
    return row["framework"], int(row["depth"]), row["batch_norm"] == "on", int(row["seed"])


def tables(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in TABLES]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SweepReport]:
    """A real sweep by the reference, with all that it writes."""
    folder = tmp_path_factory.mktemp("sweep") / "new" / "folder"
    config = small_config(depths=(2, 1), batch_norm=(True, False), num_seeds=2)
    return folder, parity.sweep(
        config, out=folder, command="bnparity sweep --dataset synthetic '🙂'", write_page=write_report
    )


# files


def test_every_file_is_written_and_nothing_else(finished: tuple[Path, SweepReport]) -> None:
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {*TABLES, "config.toml", "report.html", "sweep.sqlite", "figures"}


@pytest.mark.parametrize(("name", "header"), [("trials.csv", TRIAL_HEADER), ("thresholds.csv", THRESHOLD_HEADER)])
def test_table_has_exactly_these_columns(finished: tuple[Path, SweepReport], name: str, header: str) -> None:
    lines = (finished[0] / name).read_bytes().decode("utf-8").split("\n")
    assert lines[0] == header
    assert len(lines) > 3
    assert lines[-1] == ""


@pytest.mark.parametrize("name", TABLES)
def test_cells_are_written_as_promised(finished: tuple[Path, SweepReport], name: str) -> None:
    rows = read(finished[0] / name)
    floats = [cell for row in rows for column, cell in row.items() if column in FLOATS and cell]
    assert all(repr(float(cell)) == cell for cell in floats)
    assert {row["batch_norm"] for row in rows} == {"on", "off"}


def test_rows_are_sorted_by_key(finished: tuple[Path, SweepReport]) -> None:
    trials, thresholds = (read(finished[0] / name) for name in TABLES)
    keys = [(*group_key(row), float(row["learning_rate"])) for row in trials]
    assert keys == sorted(set(keys))
    groups = [group_key(row) for row in thresholds]
    assert groups == sorted({key[:4] for key in keys})
    assert len(groups) == 8


def test_thresholds_follow_from_the_trials(finished: tuple[Path, SweepReport]) -> None:
    folder, report = finished
    trials, thresholds = (read(folder / name) for name in TABLES)
    assert "bracketed" in {row["outcome"] for row in thresholds}
    for row in thresholds:
        own = [trial for trial in trials if group_key(trial) == group_key(row)]
        trained = [trial for trial in own if trial["status"] == "trained"]
        pairs = [(a, b) for a, b in pairwise(own) if a["status"] == "trained" != b["status"]]
        low, high = (row["largest_stable"], row["smallest_divergent"])
        assert row["outcome"] == ("bracketed" if pairs else "none_failed" if trained else "none_trained")
        if pairs:
            assert (low, high) == (pairs[0][0]["learning_rate"], pairs[0][1]["learning_rate"])
            assert float(high) / float(low) < 1.1
        if trained:
            (best,) = [t for t in trained if t["learning_rate"] == row["best_learning_rate"]]
            most = (float(best["final_loss"]) + report.label_entropy) / 2
            below = [t for t in trained if float(t["learning_rate"]) < float(high or "inf")]
            useful = [float(t["learning_rate"]) for t in below if float(t["final_loss"]) <= most]
            assert row["largest_useful"] == (repr(max(useful)) if useful else "")
        assert int(row["survivors_above"]) == sum(float(t["learning_rate"]) > float(low or "inf") for t in trained)


def test_report_is_what_the_tables_hold(finished: tuple[Path, SweepReport]) -> None:
    folder, report = finished
    for name, records in zip(TABLES, (report.trials, report.thresholds), strict=True):
        rows = read(folder / name)
        assert len(rows) == len(records)
        for row, record in zip(rows, records, strict=True):
            group = record.group
            assert group_key(row) == (group.framework, group.depth, group.batch_norm, group.seed)
            for column in list(row)[4:]:
                value = getattr(record, column)
                assert row[column] == ("" if value is None else str(value))


def test_diverged_trial_leaves_its_final_cells_empty(finished: tuple[Path, SweepReport]) -> None:
    diverged = [row for row in read(finished[0] / "trials.csv") if row["status"] == "diverged"]
    assert diverged
    for row in diverged:
        assert row["steps"].isdecimal()
        assert {row[name] for name in FLOATS[2:7]} == {""}


def test_values_that_are_not_finite_are_words(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    endings = {0.01: np.nan, 0.1: np.inf, 1.0: -np.inf, 10.0: np.nan, 100.0: np.nan}
    use_backend(FakeBackend(lambda rate, update: endings[round(rate, 2)]))
    parity.sweep(small_config(), out=tmp_path)
    assert [row["initial_loss"] for row in read(tmp_path / "trials.csv")] == ["nan", "inf", "-inf", "nan", "nan"]


def test_config_is_toml_with_command_and_versions(finished: tuple[Path, SweepReport]) -> None:
    config = tomllib.loads((finished[0] / "config.toml").read_text(encoding="utf-8"))
    assert config["sweep"] == {
        "framework": ["numpy"], "depths": [2, 1], "batch_norm": ["on", "off"], "learning_rates": "0.01:100:5",
        "seeds": 2, "passes": 2, "dataset": "synthetic", "hidden_width": 8, "batch_size": 32, "fraction": 0.05,
        "population_size": 3, "device": "", "block_order": "activation_first", "initialization": "uniform_fan_in",
        "residual": False, "dropout_rate": 0.0, "command": "bnparity sweep --dataset synthetic '🙂'", "complete": True,
    }  # fmt: skip
    environment = config["environment"]
    assert environment.items() >= {"numpy": np.__version__, "bnparity": version("bnparity")}.items()
    assert {"python", "machine", "data digest"} <= environment.keys()


def test_same_sweep_again_gives_the_same_bytes(finished: tuple[Path, SweepReport]) -> None:
    folder, report = finished
    before = tables(folder)
    again = parity.sweep(report.config, out=folder, command=report.command)
    assert again == report
    assert tables(folder) == before


def test_without_out_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = parity.sweep(small_config(num_passes=1))
    assert report.complete
    assert report.command.startswith("parity.sweep(SweepConfig(")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_refused_before_anything_is_run(
    tmp_path: Path, use_backend: Callable[[Backend], None]
) -> None:
    backend = FakeBackend()
    use_backend(backend)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to --out .*file/out.*; choose a writable folder"):
        parity.sweep(small_config(), out=tmp_path / "file" / "out")
    assert backend.asked == []


def test_crashed_group_has_trials_but_no_threshold(tmp_path: Path, use_backend: Callable[[Backend], None]) -> None:
    use_backend(CrashingBackend(RuntimeError('out of memory, "sadly"\nsecond line')))
    report = parity.sweep(small_config(), out=tmp_path)
    assert (report.has_errors, report.complete) == (True, True)
    assert [row["message"] for row in read(tmp_path / "trials.csv")] == [
        'RuntimeError: out of memory, "sadly" second line'
    ] * 5
    assert read(tmp_path / "thresholds.csv") == []


# common random numbers


def test_initial_loss_is_shared_by_all_rates_and_by_all_frameworks() -> None:
    config = small_config(
        frameworks=backend_names(), batch_norm=(True,), learning_rates=LearningRates(0.1, 0.4, 4), num_passes=1
    )
    losses: dict[str, set[float]] = {}
    for trial in parity.sweep(config).trials:
        assert trial.initial_loss is not None
        losses.setdefault(trial.group.framework, set()).add(trial.initial_loss)
    assert [len(values) for values in losses.values()] == [1] * len(backend_names())
    # A float32 sum over the 784 pixels may be off by as many roundings.
    bound = 784 * float(np.finfo(np.float32).eps)
    ends = sorted(value for values in losses.values() for value in values)
    np.testing.assert_allclose(ends[0], ends[-1], rtol=bound)


# progress


class Recorder(SilentProgress):
    """Keeps what it is told; interrupts instead of taking the update number `interrupt_at`."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.updates: list[tuple[float, str]] = []
        self.exited = False
        self._interrupt_at = interrupt_at

    def __exit__(self, *exception: object) -> None:
        self.exited = True

    def update(self, share: float, description: str) -> None:
        if len(self.updates) == self._interrupt_at:
            raise KeyboardInterrupt
        self.updates.append((share, description))


@pytest.fixture
def two_groups() -> dict[str, Any]:
    return {"depths": (1, 3), "learning_rates": LearningRates(0.25, 4, 2), "num_passes": 1}


def test_progress_rises_to_the_whole(use_backend: Callable[[Backend], None], two_groups: dict[str, Any]) -> None:
    use_backend(FakeBackend())
    recorder = Recorder()
    parity.sweep(small_config(**two_groups), progress=recorder)
    shares = [share for share, _ in recorder.updates]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert recorder.updates[-1] == (1.0, "done")
    assert [description for _, description in recorder.updates].count("done") == 1
    (words,) = {description for _, description in recorder.updates if "depth 3" in description}
    assert re.fullmatch(r"numpy, depth 3, without batch norm, seed 0, about \d+ MiB", words)
    assert recorder.exited


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    assert isinstance(console_progress(Console(file=io.StringIO(), force_terminal=True)), BarProgress)
    assert isinstance(console_progress(Console(file=io.StringIO(), force_terminal=False)), PlainProgress)


def test_plain_progress_is_whole_lines_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("time.monotonic", lambda: clock["now"])
    text = io.StringIO()
    progress = PlainProgress(Console(file=text, width=30))
    for clock["now"], share in ((0.0, 0.0), (9.0, 0.1), (11.0, 0.25), (12.0, 0.3), (13.0, 1.0)):
        progress.update(share, "torch, depth 25, without batch norm, seed 0")
    lines = text.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["0%", "25%", "100%"]
    assert lines[1].endswith("torch, depth 25, without batch norm, seed 0 (11 s elapsed, about 33 s left)")


# interruption


def test_interrupted_anywhere_the_sweep_goes_on_to_the_same_bytes(
    tmp_path: Path, use_backend: Callable[[Backend], None], two_groups: dict[str, Any]
) -> None:
    use_backend(FakeBackend())
    config, whole = small_config(**two_groups), Recorder()
    parity.sweep(config, out=tmp_path / "whole", progress=whole, command="c")
    assert len(whole.updates) > 6
    for at in range(len(whole.updates)):
        folder, recorder = tmp_path / str(at), Recorder(at)
        with pytest.raises(SweepInterrupted) as caught:
            parity.sweep(config, out=folder, progress=recorder, command="c")
        assert recorder.exited
        report = caught.value.report
        assert report.complete == (len(report.thresholds) == len(config.groups()))
        assert len(read(folder / "trials.csv")) == len(report.trials)
        assert tomllib.loads((folder / "config.toml").read_text())["sweep"]["complete"] is report.complete
        assert parity.sweep(config, out=folder, command="c").complete
        assert tables(folder) == tables(tmp_path / "whole")


def test_interruption_keeps_finished_groups_and_the_grid_of_the_unfinished(
    use_backend: Callable[[Backend], None], two_groups: dict[str, Any]
) -> None:
    config, whole = small_config(**two_groups), Recorder()
    use_backend(FakeBackend())
    complete = parity.sweep(config, progress=whole)
    first, second = config.groups()
    in_second = [i for i, (_, description) in enumerate(whole.updates) if description.startswith(str(second))]
    with pytest.raises(SweepInterrupted) as caught:
        parity.sweep(config, progress=Recorder(in_second[2]))  # after the grid, during the bisection
    report = caught.value.report
    grid = config.learning_rates.values()
    assert report.trials == tuple(
        t for t in complete.trials if t.group == first or (t.group == second and t.learning_rate in grid)
    )
    assert report.thresholds == complete.thresholds[:1]


def test_resumed_sweep_repeats_no_finished_block(
    tmp_path: Path, use_backend: Callable[[Backend], None], two_groups: dict[str, Any]
) -> None:
    config, whole, halves = small_config(**two_groups), FakeBackend(), (FakeBackend(), FakeBackend())
    use_backend(whole)
    parity.sweep(config)
    use_backend(halves[0])
    with pytest.raises(SweepInterrupted):
        parity.sweep(config, out=tmp_path, progress=Recorder(4))
    use_backend(halves[1])
    parity.sweep(config, out=tmp_path)
    assert halves[0].asked + halves[1].asked == whole.asked


def test_interruption_inside_a_block_loses_only_that_block(
    tmp_path: Path, use_backend: Callable[[Backend], None]
) -> None:
    def interrupt(rate: float, update: int) -> float:
        raise KeyboardInterrupt

    use_backend(FakeBackend(interrupt))
    with pytest.raises(SweepInterrupted) as caught:
        parity.sweep(small_config(), out=tmp_path)
    assert caught.value.report.trials == ()
    assert [(tmp_path / name).read_text().strip() for name in TABLES] == [TRIAL_HEADER, THRESHOLD_HEADER]


def test_report_threshold_is_that_of_its_trials(use_backend: Callable[[Backend], None]) -> None:
    use_backend(FakeBackend())
    report = parity.sweep(small_config())
    (threshold,) = report.thresholds
    assert threshold == find_threshold(threshold.group, report.trials, report.label_entropy)
    assert threshold.outcome == "bracketed"


# places that are not ours


@pytest.mark.parametrize("name", ["trials.csv", "config.toml", "report.html", "figures"])
def test_files_that_no_sweep_made_are_left_alone(tmp_path: Path, use_backend, name: str) -> None:
    backend = FakeBackend()
    use_backend(backend)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name} but no sweep.sqlite"):
        parity.sweep(small_config(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
    assert not backend.asked


def test_a_start_that_was_cut_off_before_its_store_is_no_obstacle(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    (tmp_path / "figures").mkdir()
    parity.sweep(small_config(), out=tmp_path)
    assert (tmp_path / "trials.csv").exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    (tmp_path / "notes.txt").write_text("mine")
    parity.sweep(small_config(), out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_command_that_is_no_text_is_still_recorded(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    parity.sweep(small_config(), out=tmp_path, command="bnparity sweep --out \udcff")
    command = tomllib.loads((tmp_path / "config.toml").read_text())["sweep"]["command"]
    assert command == "bnparity sweep --out \\udcff"


def test_a_batch_size_that_leaves_no_update_is_refused_before_anything_is_run(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    with pytest.raises(InputError, match="leaves no update"):
        parity.sweep(small_config(batch_size=5000), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_interruption_while_writing_still_leaves_the_tables(tmp_path: Path, use_backend) -> None:
    class Interrupting(FakeBackend):
        def population(self, *arguments: Any, **named: Any) -> Any:
            if len(self.asked) == 2:  # the grid's are made
                raise KeyboardInterrupt
            return super().population(*arguments, **named)

    def interrupted(report: SweepReport, folder: Path) -> None:
        raise KeyboardInterrupt

    use_backend(Interrupting())
    with pytest.raises(SweepInterrupted):
        parity.sweep(small_config(), out=tmp_path, write_page=interrupted)
    assert read(tmp_path / "trials.csv")


def test_a_store_that_fails_midway_leaves_the_tables_of_what_is_done(tmp_path: Path, use_backend, monkeypatch) -> None:
    use_backend(FakeBackend())
    record = Store.record

    def full(store: Store, trials, *told: float) -> None:
        trials = list(trials)
        if trials[0].group.depth == 2:
            raise InputError("the disk is full")
        record(store, trials, *told)

    shown: list[SweepReport] = []
    monkeypatch.setattr(Store, "record", full)
    with pytest.raises(InputError, match="the disk is full"):
        parity.sweep(small_config(depths=(1, 2)), out=tmp_path, write_page=lambda report, folder: shown.append(report))
    assert {row["depth"] for row in read(tmp_path / "trials.csv")} == {"1"}
    assert {trial.group.depth for trial in shown[0].trials} == {1}


def test_a_sweep_asked_for_in_numbers_of_numpy_is_the_same_sweep(tmp_path: Path, use_backend) -> None:
    backend = FakeBackend()
    use_backend(backend)
    parity.sweep(small_config(depths=np.arange(1, 3), num_seeds=np.int64(1)), out=tmp_path)
    config, asked = (tmp_path / "config.toml").read_text(), len(backend.asked)
    parity.sweep(small_config(depths=(1, 2), num_seeds=1), out=tmp_path)
    assert len(backend.asked) == asked  # everything was there
    assert '"depths" = [1, 2]' in config


def test_a_sweep_without_a_page_leaves_none_of_other_trials(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    parity.sweep(
        small_config(), out=tmp_path, write_page=lambda report, folder: (folder / "report.html").write_text("old")
    )
    parity.sweep(small_config(), out=tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_interruption_of_the_last_writing_writes_again(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    written: list[SweepReport] = []

    def interrupted(report: SweepReport, folder: Path) -> None:
        written.append(report)
        if len(written) == 1:
            raise KeyboardInterrupt

    with pytest.raises(SweepInterrupted) as caught:
        parity.sweep(small_config(), out=tmp_path, write_page=interrupted)
    assert written[1] is caught.value.report
    assert written[1].complete


def test_what_cannot_be_written_after_an_interruption_is_said(tmp_path: Path, use_backend, monkeypatch) -> None:
    class Interrupting(FakeBackend):
        def population(self, *arguments: Any, **named: Any) -> Any:
            raise KeyboardInterrupt

    class Told(SilentProgress):
        def say(self, text: str) -> None:
            told.append(text)

    told: list[str] = []
    use_backend(Interrupting())

    def full(*arguments: Any) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(driver, "write_tables", full)
    with pytest.raises(SweepInterrupted):
        parity.sweep(small_config(), out=tmp_path, progress=Told())
    assert told == ["the disk is full"]


def test_a_folder_that_vanishes_is_told_at_the_next_block(tmp_path: Path, use_backend) -> None:
    class Vanishing(FakeBackend):
        def population(self, spec: Any, *arguments: Any, **named: Any) -> Any:
            trained.add(spec.num_hidden_layers)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            return super().population(spec, *arguments, **named)

    trained = set[int]()
    use_backend(Vanishing())
    with pytest.raises(InputError, match=r"sweep.sqlite was removed or replaced while a sweep was at work on it"):
        parity.sweep(small_config(depths=(1, 2, 3)), out=tmp_path / "out")
    assert trained == {1}
    assert not (tmp_path / "out").exists()


def test_the_lock_of_a_folder_that_was_replaced_is_left_alone(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / ".sweep.lock").unlink()
        (tmp_path / ".sweep.lock").write_text("another's")
    assert (tmp_path / ".sweep.lock").exists()


def test_the_order_in_which_things_were_asked_for_is_no_other_sweep(tmp_path: Path, use_backend) -> None:
    backend = FakeBackend()
    use_backend(backend)
    parity.sweep(small_config(depths=(1, 2)), out=tmp_path)
    asked = len(backend.asked)
    parity.sweep(small_config(depths=(2, 1)), out=tmp_path)
    assert len(backend.asked) == asked


@pytest.mark.parametrize(
    "what",
    ["another sweep", "a second driver", "a foreign file", "no permission", "memory", "a file", "a link to nowhere",
     "a folder for the page", "a file for the figures"],
)  # fmt: skip
def test_what_could_not_end_is_refused_before_anything_is_started(
    what: str, tmp_path: Path, use_backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An executor may be slow to start, and a dry run says the same without it."""
    use_backend(FakeBackend())
    out, execution = tmp_path / "new" / "out", Execution(executor="dask", workers=2)
    message = {
        "another sweep": "depths is",
        "a second driver": "another sweep .* is writing",
        "a foreign file": "holds report.html but no sweep.sqlite",
        "no permission": "is not writable; choose a writable folder",
        "a file": r"out' is no folder",
        "a link to nowhere": r"out' is no folder",
        "a folder for the page": r"report.html is a folder there",
        "a file for the figures": "figures is no folder there",
        "memory": r"with 1 more beside it, on as many --workers, needs about .* of 1 MiB",
    }[what]
    if what in ("another sweep", "a second driver", "a folder for the page", "a file for the figures"):
        parity.sweep(small_config(depths=(1,)), out=out)
    if what == "a foreign file":
        out.mkdir(parents=True)
        (out / "report.html").write_text("mine")
    if what == "a file":
        out.parent.mkdir()
        out.touch()
    if what == "a link to nowhere":
        out.parent.mkdir()
        out.symlink_to(tmp_path / "nowhere")
    if what == "a folder for the page":
        (out / "report.html").mkdir()
    if what == "a file for the figures":
        shutil.rmtree(out / "figures")
        (out / "figures").touch()
    if what == "no permission":  # root has every one
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    if what == "memory":
        monkeypatch.setattr(FakeBackend, "free_bytes", lambda self: 2**20, raising=False)
    depths = (2,) if what == "another sweep" else (1,)
    config = small_config(depths=depths, num_seeds=1 + (what == "memory"))
    before = sorted(path for path in tmp_path.rglob("*"))
    monkeypatch.setattr(driver, "open_executor", lambda *arguments: pytest.fail("an executor was started"))
    with locked(out) if what == "a second driver" else contextlib.nullcontext():
        with pytest.raises(InputError, match=message):
            parity.sweep(config, out=out, execution=execution)
        if what != "a second driver":  # looking is allowed
            with pytest.raises(InputError, match=message):
                forecast_sweep(config, out=out, execution=execution)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_group_for_each_worker_is_what_must_fit_into_memory(monkeypatch: pytest.MonkeyPatch, use_backend) -> None:
    config = small_config(depths=(1, 2), num_seeds=2)
    samples = 480
    needs = sorted(needed_bytes(FakeBackend(), config, [group], samples) for group in config.groups())
    free = int(sum(needs[-2:]) / SHARE) + 1
    backend = FakeBackend()
    monkeypatch.setattr(FakeBackend, "free_bytes", lambda self: free, raising=False)
    check_memory("numpy", backend, config, samples, 2)
    check_memory("numpy", backend, config, samples, 0)
    with pytest.raises(InputError, match="with 2 more beside it"):
        check_memory("numpy", backend, config, samples, 3)


def test_workers_that_share_this_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    cpu, gpu = FakeBackend(), FakeBackend()
    gpu.accelerator = "Abacus 3000"  # pyright: ignore[reportAttributeAccessIssue]
    for backend, execution, expected in (
        (cpu, Execution(), 1),
        (cpu, Execution(executor="processes", workers=3), 3),
        (cpu, Execution(executor="dask", workers=3), 3),
        (cpu, Execution(executor="dask", scheduler="tcp://a:1"), 0),
        (gpu, Execution(executor="processes", workers=3), 2),  # on one of the two
        (gpu, Execution(executor="processes"), 1),
    ):
        assert workers_here(execution, backend) == expected


@pytest.mark.usefixtures("heeds_interrupts")
def test_an_interruption_that_a_callback_swallowed_is_raised_at_the_next_block() -> None:
    with handle_signals(SilentProgress()) as progress:
        progress.update(0.1, "before")
        with contextlib.suppress(KeyboardInterrupt):  # as Python does in a callback
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            progress.update(0.2, "after")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interruption_takes_nothing_out_of_the_tables(
    tmp_path: Path, use_backend: Callable[[Backend], None]
) -> None:
    """What an earlier run has finished is there, though this one has not come to it, or trains beside it."""
    use_backend(FakeBackend())
    whole = parity.sweep(small_config(depths=(1, 2)), out=tmp_path)
    before = {(t.group, t.learning_rate) for t in whole.trials}
    with pytest.raises(SweepInterrupted) as caught:
        parity.sweep(small_config(depths=(1, 2), num_seeds=2), out=tmp_path, extend=True, progress=Recorder(0))
    assert {(t.group, t.learning_rate) for t in caught.value.report.trials} == before
    assert caught.value.report.thresholds == whole.thresholds


def test_a_crash_in_a_bisection_is_reported_when_it_ends_the_sweep(tmp_path: Path, use_backend) -> None:
    class Crashing(FakeBackend):
        def population(self, *arguments: Any, **named: Any) -> Any:
            if len(self.asked) == 2:  # the grid's are made
                raise RuntimeError("out of ink")
            return super().population(*arguments, **named)

    use_backend(Crashing())
    report = parity.sweep(small_config(), out=tmp_path, fail_fast=True)
    assert report.has_errors
    assert "error" in {row["status"] for row in read(tmp_path / "trials.csv")}


@pytest.mark.parametrize("name", ["trials.parquet", "thresholds.parquet"])
def test_a_users_parquet_is_left_alone(tmp_path: Path, use_backend, name: str) -> None:
    use_backend(FakeBackend())
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name} but no sweep.sqlite"):
        parity.sweep(small_config(), out=tmp_path, parquet=True)
    assert (tmp_path / name).read_text() == "mine"


def test_parquet_of_other_trials_does_not_stay(tmp_path: Path, use_backend) -> None:
    use_backend(FakeBackend())
    parity.sweep(small_config(), out=tmp_path, parquet=True)
    assert (tmp_path / "trials.parquet").exists()
    parity.sweep(small_config(depths=(2,)), out=tmp_path, extend=True)
    assert not (tmp_path / "trials.parquet").exists()
