"""The options of `bnparity sweep` for long sweeps, and real processes that are interrupted and killed."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from parity.cli import main

ROOT = Path(__file__).parent.parent.parent
SMALL = ("sweep", "--framework", "numpy", "--dataset", "synthetic", "--passes", "1", "--batch-norm", "off",
         "--learning-rates", "0.01:100:3")  # fmt: skip
TABLES = ("trials.csv", "thresholds.csv")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.report.write_report", lambda report, folder: None)


def run(*arguments: str) -> int:
    return main((*SMALL, *arguments))


def tables(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in TABLES]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_it_says_what_is_done_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert run("--depths", "1", "--out", out) == 0
    assert "trials done" not in capsys.readouterr().err
    assert run("--depths", "1", "2", "--extend", "--out", out) == 0
    grid_and_path = len(rows(tmp_path / "out" / "trials.csv"))
    told = re.search(
        r"^(\d+) trials done, 3 to run, and what the bisection of 1 brackets needs$", capsys.readouterr().err, re.M
    )
    assert told
    assert int(told[1]) < grid_and_path
    assert run("--depths", "1", "2", "--out", out) == 0
    assert f"{grid_and_path} trials done, 0 to run\n" in capsys.readouterr().err


def test_a_dry_run_shows_the_grid_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("--depths", "1", "2", "--seeds", "2", "--out", str(out), "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "4 groups of 3 learning rates, 0.01:100:3, 1 passes over 10% of synthetic" in shown
    assert "0 trials done, 12 to run, and what the bisection of 4 brackets needs" in " ".join(shown.split())
    assert re.search(r"the rest takes numpy about [\d.]+ (s|min|h) \(by a moment's training\)", " ".join(shown.split()))
    assert not out.exists()
    assert run("--depths", "1", "--out", str(out)) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    capsys.readouterr()
    assert run("--depths", "1", "2", "--extend", "--out", str(out), "--dry-run") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"trials done, 3 to run.*numpy about [\d.]+ (s|min|h)$", shown)  # by what the store tells
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert run("--depths", "2", "--out", str(out), "--dry-run") == 2
    assert "--extend adds to its grid" in capsys.readouterr().err


def test_parquet_holds_what_the_csv_holds(tmp_path: Path) -> None:
    assert run("--depths", "1", "2", "--out", str(tmp_path), "--parquet") == 0
    for name in TABLES:
        table = parquet.read_table((tmp_path / name).with_suffix(".parquet"))
        found = rows(tmp_path / name)
        assert table.column_names == list(found[0])
        cells = [{k: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()]
        assert cells == found
    schema = parquet.read_schema(tmp_path / "trials.parquet")
    assert (str(schema.field("learning_rate").type), str(schema.field("steps").type)) == ("double", "int64")


def test_without_pyarrow_parquet_is_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("parity.sweep.output"), "find_spec", lambda name: None)
    assert run("--out", str(tmp_path / "out"), "--parquet") == 2
    assert "pip install 'bnparity[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fail_fast_ends_with_the_first_crash_and_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from parity.reference import NumpyBackend

    population = NumpyBackend.population

    def crash(self: Any, spec: Any, *arguments: Any, **named: Any) -> Any:
        if spec.num_hidden_layers == 2:
            raise RuntimeError("out of ink")
        return population(self, spec, *arguments, **named)

    monkeypatch.setattr(NumpyBackend, "population", crash)
    depths = ("--depths", "1", "2", "3")
    for fast, found in ((True, {"1", "2"}), (False, {"1", "2", "3"})):
        out = tmp_path / str(fast)
        assert run(*depths, "--out", str(out), *(["--fail-fast"] if fast else [])) == 1
        ended = rows(out / "trials.csv")
        assert {row["depth"] for row in ended} == found
        assert {row["status"] for row in ended if row["depth"] == "2"} == {"error"}
        told = capsys.readouterr().err
        assert ("stopped at the first trial that crashed" in told) is fast
    monkeypatch.setattr(NumpyBackend, "population", population)
    assert run(*depths, "--out", str(tmp_path / "True"), "--fail-fast") == 0
    assert run(*depths, "--out", str(tmp_path / "whole")) == 0
    assert tables(tmp_path / "True") == tables(tmp_path / "whole")


# real processes


def start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "parity", *SMALL, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_a_second_driver_is_refused_while_the_first_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--depths", "1", "2", "3", "--seeds", "20", "--out", str(tmp_path))
    with start(*arguments) as first:
        assert first.stderr is not None
        first.stderr.readline()
        wait_for(tmp_path / "sweep.sqlite")
        assert run(*arguments) == 2
        told = capsys.readouterr().err
        assert f"another sweep (process {first.pid} on " in told
        assert told.count("\n") == 1
        assert run(*arguments, "--dry-run") == 0  # looking is allowed
        assert first.poll() is None
        first.kill()
    assert run("--depths", "1", "2", "3", "--seeds", "20", "--out", str(tmp_path), "--dry-run") == 0


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_ctrl_c_twice_ends_at_once_and_loses_nothing(tmp_path: Path, executor: str) -> None:
    arguments = ("--depths", "1", "2", "--seeds", "2", "--executor", executor, "--out", str(tmp_path / "out"))
    with start(*arguments) as sweep:
        assert sweep.stderr is not None
        sweep.stderr.readline()
        wait_for(tmp_path / "out" / "sweep.sqlite")
        sweep.send_signal(signal.SIGINT)
        time.sleep(0.05)
        sweep.send_signal(signal.SIGINT)
        _, told = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "Traceback" not in told
    assert run(*arguments) == 0
    assert run("--depths", "1", "2", "--seeds", "2", "--out", str(tmp_path / "whole")) == 0
    assert tables(tmp_path / "out") == tables(tmp_path / "whole")


@pytest.mark.parametrize("executor", ["in-process", "processes"])
def test_sigterm_which_a_cluster_sends_is_taken_for_ctrl_c(tmp_path: Path, executor: str) -> None:
    arguments = ("--depths", "1", "2", "--seeds", "20", "--executor", executor, "--out", str(tmp_path / "out"))
    with start(*arguments) as sweep:
        assert sweep.stderr is not None
        sweep.stderr.readline()
        wait_for(tmp_path / "out" / "sweep.sqlite")
        sweep.terminate()
        _, told = sweep.communicate(timeout=60)
    assert sweep.returncode == 128 + signal.SIGTERM
    assert told.splitlines()[-1].startswith("bnparity: interrupted; what is done lies in")
    assert (tmp_path / "out" / "trials.csv").exists()


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.timeout(120)
def test_ctrl_c_at_a_terminal_which_goes_to_dasks_workers_too_is_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start("--depths", "1", "2", "3", "--seeds", "6", "--executor", "dask", "--out", str(out)) as sweep:
        assert sweep.stderr is not None
        sweep.stderr.readline()
        wait_for(out / "sweep.sqlite")
        os.killpg(sweep.pid, signal.SIGINT)
        _, told = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("bnparity: interrupted; what is done lies in")


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_hits_a_cluster_that_is_starting_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    with start("--executor", "dask", "--workers", "2", "--out", str(tmp_path / "out")) as sweep:
        deadline = time.monotonic() + 60
        while len(children(sweep.pid)) < 2:  # Python's own resource tracker, and a worker
            assert time.monotonic() < deadline
            time.sleep(0.01)
        sweep.send_signal(number)
        _, told = sweep.communicate(timeout=60)
    assert (sweep.returncode, told) == (128 + number, "bnparity: interrupted\n")
    assert not (tmp_path / "out").exists()


def children(of: int) -> list[str]:
    return [pid for path in Path(f"/proc/{of}/task").glob("*/children") for pid in path.read_text().split()]


def test_a_reader_of_standard_error_that_goes_away_ends_nothing(tmp_path: Path) -> None:
    with start("--depths", "1", "2", "--seeds", "8", "--out", str(tmp_path)) as sweep:
        assert sweep.stderr is not None
        sweep.stderr.readline()
        sweep.stderr.close()
        assert sweep.stdout is not None
        shown = sweep.stdout.read()
    assert sweep.returncode == 0
    assert "report: " in shown
    assert len(rows(tmp_path / "trials.csv")) >= 48


@pytest.mark.parametrize(("where", "status"), [("/dev/full", 2), ("closed", 0)])
def test_standard_output_that_takes_nothing(tmp_path: Path, where: str, status: int) -> None:
    command = [sys.executable, "-m", "parity", *SMALL, "--out", str(tmp_path)]
    shell = 'exec "$@" >&-' if where == "closed" else f'exec "$@" >{where}'
    done = subprocess.run(["/bin/sh", "-c", shell, "sh", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("standard output cannot be written: No space left on device" in done.stderr) is (status == 2)
    assert (tmp_path / "trials.csv").exists()


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.timeout(120)
def test_the_second_ctrl_c_does_not_wait_for_what_the_first_began() -> None:
    writing = """
import time
from parity.progress import SilentProgress
from parity.signals import handle_signals
with handle_signals(SilentProgress()):
    try:
        print("running", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("writing", flush=True)
        time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", writing], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for expected in ("running\n", "writing\n"):
            assert process.stdout.readline() == expected
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_killed_at_random_moments_nothing_is_lost(framework: str, tmp_path: Path) -> None:
    """A sample of `make survive-kills`, on a smaller sweep."""
    out = tmp_path / "counts.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "survive_kills.py"), "--framework", framework, "--kills", "1"]
    command += ["--seeds", "1", "--batch-norm", "on"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(out.read_text())
    assert counts["kills"] == 1
    assert counts["looked_at"] > 0
    assert [counts[name] for name in ("lost", "repeated", "altered", "tables_that_differ")] == [0, 0, 0, 0]
