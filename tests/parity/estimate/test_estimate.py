"""Estimates without a TPU's compiler: what is made of what it says."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from bnjax.compiler import compiled
from parity.backend.compiler import CannotBeCompiled, ChipProgram, Compiled
from parity.bench import Case
from parity.cli import main
from parity.errors import InputError
from parity.estimate import EstimateConfig, EstimateReport, EstimateRow, worker
from parity.estimate.chip import CHIPS, GIB, parse_chips, roofline_of
from parity.estimate.run import estimate
from parity.estimate.screen import print_report, write_json
from parity.report import write_estimate_report
from parity.spec import ModelSpec

SAID = Compiled(
    operations=6.0e9, moved_bytes=4.0e6, least_bytes=2_000_000, memory_bytes=3_000_000, estimate_s=5e-5, not_estimated=0
)


def made(**changes: Any) -> EstimateReport:
    row = EstimateRow(
        framework="jax", group="depth 1", program="update", dtype="float32", models=16, per="model-step", compile_s=1.0,
        memory_bytes=3_000_000, fits=True, operations=6e9, moved_bytes=4e6, estimate_us=50.0, not_estimated=0,
        roofline_us=183.0, roofline_by="operations",
    )  # fmt: skip
    rows = row, replace(row, models=256, estimate_us=40.0, roofline_us=30.0, not_estimated=2)
    given: dict[str, Any] = {
        "config": EstimateConfig(compile_for="v5e"), "rows": rows, "title": "networks", "environment": {},
        "command": "c", "seconds": 1.0, **changes,
    }  # fmt: skip
    return EstimateReport(**given)


def shown(report: EstimateReport, width: int = 80) -> str:
    console = Console(width=width, record=True)
    print_report(report, console)
    return console.export_text()


@pytest.mark.parametrize("words", ["", "v5", "v5e:", "v5e:2", "v5e:0", "v5e:four", "v5e:4:1", "V5E", "v5e:-4"])
def test_chips_that_are_none(words: str) -> None:
    with pytest.raises(InputError, match="give one of v4, v5e, v5p, v6e, and for four of them :4, as v5e:4"):
        EstimateConfig(compile_for=words)


@pytest.mark.parametrize(
    "values",
    [
        {"compile_for": None}, {"compile_for": 5}, {"cases": Case()}, {"cases": ()}, {"pair": 3}, {"batch_sizes": (8,)},
        {"pair": "p.py", "frameworks": ("jax",)}, {"pair": "p.py", "compile_for": "v5e:4", "batch_sizes": (8, 6)},
        {"precision": "tf31"}, {"pair": "p.py", "dtypes": ("int8",)}, {"num_samples": 0},
    ],
)  # fmt: skip
def test_what_cannot_be_asked(values: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"compile_for": "v5e", **values}
    with pytest.raises(InputError):
        EstimateConfig(**asked)


@pytest.mark.parametrize("words", [*CHIPS, *(f"{kind}:{count}" for kind in CHIPS for count in (1, 4))])
def test_chips_by_their_name(words: str) -> None:
    chips = parse_chips(words)
    assert words in (chips.kind, f"{chips.kind}:{chips.count}")


def test_the_roofline_counts_every_operation_once() -> None:
    roofline = roofline_of(CHIPS["v5e"], SAID)
    assert roofline.by == "operations"
    assert roofline.seconds == pytest.approx(6.0e9 / 197e12)


def test_what_moves_more_than_it_computes_is_bound_by_the_memory() -> None:
    roofline = roofline_of(CHIPS["v6e"], replace(SAID, operations=1e3))
    assert roofline.by == "memory"
    assert roofline.seconds == pytest.approx(2_000_000 / 1640e9)


def a_program(seconds: float, text: str = "", flops: float = 5.0) -> Any:
    memory = SimpleNamespace(
        argument_size_in_bytes=100, output_size_in_bytes=50, alias_size_in_bytes=40, temp_size_in_bytes=7,
        generated_code_size_in_bytes=3,
    )  # fmt: skip
    cost = {"flops": flops, "bytes accessed": 6.0, "optimal_seconds": seconds}
    program = SimpleNamespace(cost_analysis=lambda: cost, memory_analysis=lambda: memory, as_text=lambda: text)
    return SimpleNamespace(compile=lambda: program)


@pytest.mark.parametrize(
    ("told", "estimate_s", "left_out"), [(3e-5, 3e-5, 0), (3e-5 - 1, 3e-5, 1), (0.004 - 77, 0.004, 77)]
)
def test_operations_without_an_estimate_are_counted(told: float, estimate_s: float, left_out: int) -> None:
    said = compiled(lambda: a_program(float(np.float32(told))))
    assert said.not_estimated == left_out
    assert said.estimate_s == pytest.approx(estimate_s, rel=0.05)
    assert (said.least_bytes, said.memory_bytes) == (150, 150 - 40 + 7 + 3)


def test_an_estimate_that_is_lost_among_them_is_none() -> None:
    """The compiler gives one float32: beside -89 nothing smaller than 8 microseconds can be seen in it."""
    said = compiled(lambda: a_program(float(np.float32(3e-5 - 89))))
    assert said.estimate_s is None
    assert said.not_estimated == 89


def test_what_may_take_a_second_has_no_estimate() -> None:
    """Of 1.5 seconds less one for an operation without an estimate half a second would be left."""
    assert compiled(lambda: a_program(0.5, flops=3e14)).estimate_s is None


@pytest.mark.parametrize("text", ["%w = while(%a), condition=%c", "no such thing"])
def test_a_loop_is_seen(text: str) -> None:
    assert compiled(lambda: a_program(1e-5, text)).has_loop is ("while(" in text)


def test_an_operation_that_the_chip_lacks_is_no_crash() -> None:
    def lower() -> Any:
        raise NotImplementedError("no rule for 'eig'")

    with pytest.raises(CannotBeCompiled, match="no rule for 'eig'"):
        compiled(lower)


@pytest.mark.parametrize(("words", "lacks"), [("RESOURCE_EXHAUSTED: too large\nmore", True), ("INTERNAL: no", False)])
def test_a_program_that_is_refused(words: str, lacks: bool) -> None:
    def refuse() -> Any:
        raise jax.errors.JaxRuntimeError(words)

    with pytest.raises(CannotBeCompiled) as caught:
        compiled(refuse)
    assert caught.value.words == words.partition("\n")[0]
    assert caught.value.lacks_memory is lacks


class FakeCompiler:
    """Compiles what it is given in no time."""

    lanes = (1, 2)

    def __init__(self, said: Compiled | CannotBeCompiled) -> None:
        self._said = said

    def compile(self) -> Compiled:
        if isinstance(self._said, CannotBeCompiled):
            raise self._said
        return self._said

    def population(self, spec: ModelSpec, members: int, lanes: int, *_: Any) -> list[ChipProgram]:
        models = members * lanes
        kinds = ("update", models), ("pass", 0)
        return [
            ChipProgram(name=name, models=models, per="model-step", count=count, compile=self.compile)
            for name, count in kinds
        ]

    def learner(self, *_: Any) -> list[ChipProgram]:
        return [ChipProgram(name="check: step", models=1, per="model-step", count=1, compile=self.compile)]


def estimated(said: Compiled | CannotBeCompiled, monkeypatch: pytest.MonkeyPatch) -> EstimateReport:
    """Estimates of a compiler that says one and the same of all programs, in this process."""
    from contextlib import contextmanager

    from parity.estimate import run

    backend = SimpleNamespace(compiler=lambda chips: FakeCompiler(said), versions=lambda: {"fake": "1"})

    @contextmanager
    def side(spec: Any) -> Any:
        yield SimpleNamespace(call=lambda task, *arguments: task(backend, *arguments))

    monkeypatch.setattr(run, "open_side", side)
    case = Case(depth=1, populations=(8,))
    return estimate(EstimateConfig(compile_for="v5e", frameworks=("fake",), cases=(case,)))


def test_figures_are_for_a_model_step(monkeypatch: pytest.MonkeyPatch) -> None:
    report = estimated(SAID, monkeypatch)
    one, many = (row for row in report.rows if row.program == "update")
    assert (one.models, many.models) == (8, 16)
    for row in (one, many):
        assert row.operations == pytest.approx(6.0e9 / row.models)
        assert row.estimate_us == pytest.approx(50.0 / row.models)
        assert row.roofline_us == pytest.approx(6.0e9 / 197e12 * 1e6 / row.models)
    assert [row.dtype for row in report.rows if row.program == "check: step"] == list(worker.CHECKED)
    assert report.is_well


def test_a_pass_has_no_figures_but_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    report = estimated(SAID, monkeypatch)
    assert report.is_well
    for row in (row for row in report.rows if row.program == "pass"):
        assert (row.estimate_us, row.roofline_us, row.operations) == (None, None, None)
        assert row.models in (8, 16)
        assert row.memory_bytes == 3_000_000


@pytest.mark.parametrize(
    "said",
    [replace(SAID, memory_bytes=17 * GIB), CannotBeCompiled("RESOURCE_EXHAUSTED: no room", True)],
    ids=["larger than the chip", "refused"],
)
def test_what_does_not_fit_is_no_success(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    report = estimated(said, monkeypatch)
    assert not report.is_well
    assert {row.fits for row in report.rows} == {False}
    assert "of 6 programs 0 cannot be compiled, and 6 do not fit" in shown(report, 200)


def test_a_process_that_dies_loses_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from parity.process import SideError

    compile_program, count = worker.compile_program, [0]

    def dying(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] > 2:
            raise SideError("was ended by SIGKILL")
        return compile_program(*arguments)

    monkeypatch.setattr(worker, "compile_program", dying)
    report = estimated(SAID, monkeypatch)
    assert len(report.rows) == 2
    assert not report.complete
    assert not report.is_well
    assert report.left_out == ("what was to come: was ended by SIGKILL",)


def test_what_cannot_be_compiled_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    report = estimated(CannotBeCompiled("INTERNAL: a <b>"), monkeypatch)
    assert not report.is_well
    text = shown(report, 200)
    assert "of 6 programs 6 cannot be compiled, and 0 do not fit" in text
    assert "INTERNAL: a <b>" in text


def test_a_program_with_a_loop_has_no_figures_but_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    report = estimated(replace(SAID, has_loop=True), monkeypatch)
    assert report.is_well
    for row in report.rows:
        assert (row.estimate_us, row.roofline_us, row.operations, row.memory_bytes) == (None, None, None, 3_000_000)
        assert "loop" in row.note


def test_the_answers_are_estimates_of_a_chip() -> None:
    """And of populations of which nothing is left out, if there are any."""
    text = shown(made(), 200)
    assert text.startswith("ESTIMATES of a compiler; nothing was run.")
    assert "a model-step at depth 1: about 50 µs by the compiler on a chip (16 models at once)" in text
    (_, many) = made().rows
    assert "about 40 µs by the compiler, but for 2 operations that it has no estimate of" in shown(
        made(rows=(many,)), 200
    )
    four = made(config=EstimateConfig(compile_for="v5e:4"))
    assert "about 50 µs by the compiler on each of 4 chips (16 models at once)" in shown(four, 200)
    assert max(map(len, shown(made()).splitlines()[4:-6])) <= 80
    assert "40*" in text
    assert "* without operations that the compiler has no estimate of" in text


def test_memory_just_below_a_unit_is_no_power_of_ten() -> None:
    (row, _) = made().rows
    assert "(the largest needs 1020 MiB)" in shown(made(rows=(replace(row, memory_bytes=1020 * 2**20),)), 200)


def test_what_was_not_ended_says_so() -> None:
    assert not made(complete=False).is_well
    text = shown(made(complete=False), 200)
    assert "INTERRUPTED: 2 programs are done." in text
    assert "all 2 programs that were done are compiled" in text


def test_models_that_differ_are_not_compiled(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The exit status is that of a no, as of `bench --pair`, and the report is written."""
    pair = tmp_path / "pair.py"
    pair.write_text(
        "import parity\ninputs = {'x': parity.normal(4, 3)}\n"
        "def port(bias):\n    import torch, bntorch\n    model = torch.nn.Linear(3, 2)\n"
        "    torch.nn.init.constant_(model.weight, 0.5)\n    torch.nn.init.constant_(model.bias, bias)\n"
        "    return bntorch.port(torch.nn.Sequential(model, torch.nn.Tanh() if bias else torch.nn.ReLU()))\n"
        "def reference():\n    return port(0.0)\n"
        "def candidate():\n    return port(1.0)\n"
    )
    assert main(("bench", "--compile-for", "v5e", "--pair", str(pair), "--json", str(tmp_path / "e.json"))) == 1
    assert "nothing was compiled, since the verdict on the two is disagree" in capfd.readouterr().out
    assert json.loads((tmp_path / "e.json").read_text())["differs"].startswith("the verdict on the two is disagree")


def test_the_page_and_the_file_say_that_they_are_estimates(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    report = made(title=attack, left_out=(attack,))
    write_estimate_report(report, tmp_path / "e.html")
    page = (tmp_path / "e.html").read_text()
    assert "Nothing was run: these are a compiler's estimates" in page
    assert "<script" not in page
    assert page.count("<figure") == 1
    write_json(report, tmp_path / "e.json")
    read = json.loads((tmp_path / "e.json").read_text(), parse_constant=pytest.fail)
    assert read["schema"] == 1
    assert read["estimates"] is True
    assert read["all_fit"] is True
    assert read["chips"]["kind"] == "v5e"
    assert [row["models"] for row in read["rows"]] == [16, 256]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--compile-for", "v7"), ("no chips 'v7'", "v5e:4")),
        (("--compile-for", "v5e", "--blocks", "3"), ("--blocks is not for --compile-for",)),
        (("--compile-for", "v5e", "--profile"), ("--profile is not for --compile-for",)),
        (("--compile-for", "v5e", "--no-compiled"), ("--no-compiled is not for --compile-for",)),
        (("--compile-for", "v5e", "--device", "cpu"), ("--device is not for --compile-for",)),
        (("--compile-for", "v5e", "--dtypes", "bfloat16"), ("--dtypes needs --pair",)),
        (("--compile-for", "v5e", "--populations", "8"), ("--populations needs --depths",)),
        (
            ("--compile-for", "v5e", "--pair", "p.py", "--depths", "1"),
            ("--depths is not for --compile-for with --pair",),
        ),
        (("--compile-for", "v5e", "--pair", "p.py"), ("there is no file 'p.py'",)),
        (("--compile-for", "v5e", "--framework", "numpy"), ("numpy has no compiler for chips that are not here",)),
        pytest.param(
            ("--compile-for", "v5e", "--framework", "jax"),
            ("libtpu", "install the extra tpu"),
            marks=pytest.mark.skipif(find_spec("libtpu") is not None, reason="the compiler is here"),
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(
    arguments: tuple[str, ...],
    named: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(("bench", *arguments, "--json", "e.json")) == 2
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("bnparity: ")]
    assert len(lines) == 1
    assert [words for words in named if words not in lines[0]] == []
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
