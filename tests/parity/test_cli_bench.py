"""The command `bnparity bench`, as a user runs it."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from parity.cli import main
from parity.clock import Watch
from parity.progress import SilentProgress

SMALL = ("--depths", "1", "--widths", "4", "--batch-sizes", "8", "--blocks", "2")
TINY = ("bench", "--framework", "jax", *SMALL)
QUICK = ("bench", "--framework", "torch", "--no-compiled", *SMALL)  # with nothing to compile


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--widths", "3"), ("--widths needs --depths",)),
        (("--no-compiled",), ("--no-compiled needs --depths",)),
        (("--batch-norm", "off"), ("--batch-norm needs --depths",)),
        (("--framework", "numpy", "--depths", "1"), ("numpy has no mode to be timed", "--framework")),
        (("--depths", "0"), ("depth must be an integer of at least 1", "got 0")),
        (("--depths", "1", "--widths", "0"), ("hidden_width", "got 0")),
        (("--depths", "1", "--batch-sizes", "1"), ("batch of at least 2", "got 1")),
        (("--depths", "1", "--populations", "0"), ("members", "got 0")),
        (("--depths", "99999"), ("depth must be at most 1000", "99999")),
        (("--blocks", "0"), ("blocks must be an integer of at least 2", "got 0")),
        (("--blocks", "1"), ("blocks must be an integer of at least 2", "got 1")),
        (("--framework", "caffe"), ("no framework is named 'caffe'", "jax")),
        (("--device", "abacus"), ("no device 'abacus'",)),
        (("--precision", "tf31"), ("tf31",)),
        (("--preset", "instant"), ("instant",)),
        (("--json", ""), ("--json must name a file",)),
        (("--json", "nowhere/bench.json"), ("no folder 'nowhere'",)),
        (("--json", "a", "--html", "a"), ("must be different files",)),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    arguments: tuple[str, ...],
    named: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(("bench", *arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert [words for words in named if words not in err] == []
    assert list(tmp_path.iterdir()) == []


def test_a_benchmark_is_a_table_and_two_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "parity", *TINY, "--json", "bench.json", "--html", "bench.html"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    written = json.loads((tmp_path / "bench.json").read_text())
    assert done.returncode == (0 if written["trusted"] else 1), done.stderr  # others may be at work here
    assert done.stdout.startswith("NOT TO BE TRUSTED") is not written["trusted"]
    assert "depth 1, width 4, batch 8, with batch norm; floor" in done.stdout
    table = done.stdout[done.stdout.index("models") :].splitlines()
    assert max(map(len, table)) <= 100
    rows = written["rows"]
    assert written["complete"] is True
    assert {row["mode"] for row in rows} == {"jit_step", "scan", "population_vmap", "population_sharded"}
    assert all(row["median_us"] > 0 for row in rows)
    page = (tmp_path / "bench.html").read_text()
    assert "--batch-sizes 8" in page  # the command
    assert page.count("<figure") == 1  # the cost by population
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench.html"}


@pytest.mark.parametrize("doubts", [(), ("others took <2> of the cores",)])
def test_figures_of_a_machine_that_others_use_are_not_to_be_trusted(
    doubts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Watch, "doubts", lambda self, rows: doubts)
    status = main((*QUICK, "--json", str(tmp_path / "bench.json"), "--html", str(tmp_path / "bench.html")))
    assert status == len(doubts)
    first = "NOT TO BE TRUSTED, the machine was not its own: others took <2> of the cores\n" * len(doubts)
    assert capsys.readouterr().out.startswith(first + "one model: PyTorch's ")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert (written["trusted"], written["doubts"]) == (not doubts, list(doubts))
    assert ("others took &lt;2&gt; of the cores" in (tmp_path / "bench.html").read_text()) is bool(doubts)


@pytest.mark.parametrize("is_early", [True, False])
def test_ctrl_c_before_a_case_is_done_leaves_the_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_early: bool
) -> None:
    class Interrupting(SilentProgress):
        def update(self, share: float, description: str) -> None:
            raise KeyboardInterrupt

    def starting(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("parity.commands.bench.console_progress", lambda console: Interrupting())
    if is_early:  # while the processes start
        monkeypatch.setattr(import_module("parity.bench.run"), "_open", starting)
    paths = [tmp_path / "bench.json", tmp_path / "bench.html"]
    for path in paths:
        path.write_text("of an earlier run")
    assert main((*TINY, "--depths", "1", "--json", str(paths[0]), "--html", str(paths[1]))) == 130
    assert capsys.readouterr().err == "bnparity: interrupted\n"
    assert [path.read_text() for path in paths] == ["of an earlier run"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.html", "bench.json"]


def test_ctrl_c_keeps_the_cases_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting(SilentProgress):
        def update(self, share: float, description: str) -> None:
            if description.startswith("depth 2"):
                raise KeyboardInterrupt

    monkeypatch.setattr("parity.commands.bench.console_progress", lambda console: Interrupting())
    path = tmp_path / "bench.json"
    assert main((*QUICK, "--depths", "1", "2", "3", "--json", str(path), "--html", str(tmp_path / "a.html"))) == 130
    out, err = capsys.readouterr()
    assert err == "bnparity: interrupted; 1 of 3 cases are done\n"
    assert "population eager" in out
    assert "INTERRUPTED: 1 of 3 cases are done." in out
    assert "Interrupted: 1 of 3 cases are done." in (tmp_path / "a.html").read_text()
    written = json.loads(path.read_text())
    assert written["complete"] is False
    assert {row["depth"] for row in written["rows"]} == {1}
