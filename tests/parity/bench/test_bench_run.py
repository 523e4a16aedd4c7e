"""A benchmark counts only the times of modes whose steps are right, and says of the others why."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.backend import Backend
from parity.bench import BenchConfig, BenchReport, bench, run, worker
from parity.bench.config import Case
from parity.bench.output import report_dict, write_json
from parity.bench.records import Row
from parity.bench.screen import print_report
from parity.bench.worker import copy_seconds, describe_modes
from parity.errors import InputError
from parity.reference import NumpyBackend
from parity.report import write_bench_report
from parity.report.bench_page import scalings

SMALL = Case(depth=1, width=4, batch_size=8, populations=(2, 3), compiled=False)
CONTRACT = (
    "framework", "mode", "device", "precision", "depth", "width", "batch_size", "batch_norm", "population",
    "compile_s", "median_us", "low_us", "high_us", "floor_us", "ratio_to_floor", "ratio_to_lab_loop", "note",
)  # fmt: skip


def small_config(framework: str, *cases: Case, **changes: Any) -> BenchConfig:
    values: dict[str, Any] = {"blocks": 2, "block_seconds": 0.001, "num_samples": 64, "profile_depth": 1}
    return BenchConfig(frameworks=(framework,), cases=cases or (SMALL,), **(values | changes))


@pytest.fixture(scope="module")
def report() -> BenchReport:
    """Of a backend whose modes are not all right."""
    return bench(small_config("timed_modes:make", SMALL, replace(SMALL, depth=2, populations=(2,), compiled=True)))


def rows_of(report: BenchReport, mode: str, depth: int = 1) -> list[Row]:
    return [row for row in report.rows if row.mode == mode and row.case.depth == depth]


def test_a_right_mode_has_its_times(report: BenchReport) -> None:
    (loop,) = rows_of(report, "eager_loop")
    for row, population in zip(rows_of(report, "right"), (2, 3), strict=True):
        assert row.note == ""
        assert row.population == population
        assert len(row.samples_us) == 4  # two turns of two blocks
        assert row.median_us is not None
        assert row.low_us is not None
        assert row.high_us is not None
        assert row.median_us == np.median(row.samples_us)
        assert min(row.samples_us) <= row.low_us <= row.median_us <= row.high_us <= max(row.samples_us)
        assert row.floor_us is not None
        assert row.ratio_to_floor == row.median_us / row.floor_us
        assert row.own_floor_us is not None
        assert row.own_floor_us >= row.floor_us  # where others' products, which may be faster, do not count
        assert loop.median_us is not None
        assert row.ratio_to_lab_loop == loop.median_us / row.median_us
    assert loop.ratio_to_lab_loop == 1


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("wrong", "failed the parity check in float64: updated"),
        ("wrong_statistics", "failed the parity check in float64: statistic hidden.0.running_mean"),
        ("wrong_before", "failed the parity check in float32: statistic hidden.0.running_mean"),
        ("wrong_after", "failed the parity check in float32: statistic hidden.0.running_mean"),
        ("missing", "there is no compiler here; install one"),
        ("crashing", "raised RuntimeError: out of <memory>"),
    ],
)
def test_no_other_mode_has(report: BenchReport, mode: str, words: str) -> None:
    rows = rows_of(report, mode)
    assert rows
    for row in rows:
        assert words in row.note
        assert (row.median_us, row.compile_s, row.floor_us, row.samples_us) == (None, None, None, ())


def test_what_waits_for_a_compiler_can_be_left_out(report: BenchReport) -> None:
    assert rows_of(report, "slow_to_compile") == []
    assert len(rows_of(report, "slow_to_compile", depth=2)) == 1


def test_a_framework_copies_on_its_own_device_and_numpy_has_none(framework: Backend) -> None:
    seconds = copy_seconds(framework, 2**20)
    assert seconds is not None
    assert seconds > 0
    assert copy_seconds(NumpyBackend(), 2**20) is None


def test_every_mode_of_a_framework_is_right(framework: Backend, capfd: pytest.CaptureFixture[str]) -> None:
    report = bench(small_config(framework.name))
    expected = {name for name, mode in describe_modes(framework).items() if not mode.compiles}
    assert capfd.readouterr().err == ""  # of a profiler, say
    assert {row.mode for row in report.rows} == expected
    assert [row.note for row in report.rows] == [""] * len(report.rows)
    assert sum(operation.share for operation in report.profiles[framework.name]) <= 1 + 1e-9
    assert report.profiles[framework.name][0].share > 0


def test_a_witness_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WITNESS", "timed_modes:make_dying")
    with pytest.raises(InputError, match=r"^a process of the benchmark ended with exit status 3; "):
        bench(small_config("timed_modes:make"))


def test_a_framework_that_dies_loses_no_row_of_another() -> None:
    names = "timed_modes:make", "timed_modes:make_dying"
    report = bench(replace(small_config(""), frameworks=names))
    assert {row.framework for row in report.rows if row.median_us} == set(names)
    for floor in (floor for row in report.rows for floor in (row.floor_us, row.own_floor_us) if floor is not None):
        assert 0 < floor < np.inf


def test_the_floor_of_a_framework_counts_its_own_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def taking(seconds: float) -> Any:
        return SimpleNamespace(call=lambda task, *shapes: seconds if task is worker.product_seconds else "")

    monkeypatch.setattr(run, "copy_rate", lambda: 1e30)
    floors = run._floors({"slow": taking(1.0), "fast": taking(0.5)}, taking(0.25))
    of = {name: floor.microseconds(Case(depth=2)) for name, floor in floors.items()}
    assert of == {"": of[""], "slow": pytest.approx(4 * of[""]), "fast": pytest.approx(2 * of[""])}


def test_the_json_keeps_the_contract(report: BenchReport, tmp_path: Path) -> None:
    write_json(report, tmp_path / "bench.json")
    read = json.loads((tmp_path / "bench.json").read_text(), parse_constant=pytest.fail)
    assert read == json.loads(json.dumps(report_dict(report)))
    assert read["schema"] == 1
    assert read["environment"]["where"] == "<here>"
    assert len(read["rows"]) == len(report.rows)
    for row in read["rows"]:
        assert tuple(name for name in row if name in CONTRACT) == CONTRACT
        assert isinstance(row["batch_norm"], bool)


def test_the_page_has_every_row_and_no_markup_of_others(report: BenchReport, tmp_path: Path) -> None:
    write_bench_report(report, tmp_path / "bench.html")
    page = (tmp_path / "bench.html").read_text()
    assert "out of &lt;memory&gt;" in page
    assert "<memory>" not in page
    assert "&lt;here&gt;" in page
    assert page.count("<tr>") >= len(report.rows)
    assert [axis for axis, _ in scalings(report)] == ["depth", "population"]


def test_the_screen_says_why_a_mode_has_no_time(report: BenchReport, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    print_report(report, Console(width=80))
    shown = capsys.readouterr().out
    assert "timed_modes:make missing: there is no compiler here; install one" in shown
    assert "a 75%, b 25%" in shown
    assert "depth 1, width 4, batch 8, with batch norm; floor" in shown
