"""`bnparity check` on the command line: its options, its exit statuses, and the files that it writes."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from check_reports import EVIDENCE, agreeing, disagreeing

from parity.check.config import PRESETS as CONFIGS
from parity.check.config import QUESTIONS, CheckConfig
from parity.check.records import CheckReport
from parity.cli import main, parse
from parity.commands.check import PRESETS, Check
from parity.errors import InputError
from parity.spec import ModelSpec
from parity.verdict.verdict import Verdict

FILES = {"--json": "verdict.json", "--html": "verdict.html", "--junit": "verdict.xml"}
ALL_FILES = tuple(word for pair in FILES.items() for word in pair)


class FakeCheck:
    """What stands for `parity.check.run.check`: gives `result`, or raises it, and remembers what it was asked."""

    def __init__(self) -> None:
        self.result: CheckReport | BaseException = agreeing()
        self.calls: list[SimpleNamespace] = []

    def __call__(self, reference: str, candidate: str, **options: Any) -> CheckReport:
        names = sorted(path.name for path in Path.cwd().iterdir() if not path.name.startswith("."))
        self.calls.append(SimpleNamespace(reference=reference, candidate=candidate, files=names, **options))
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def install(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    module = ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCheck:
    """The check that the command will run, in an empty working folder."""
    fake = FakeCheck()
    install(monkeypatch, "parity.check.run", check=fake)

    def write_page(report: CheckReport, path: Path) -> None:
        path.write_text(f"<html>{report.verdict}</html>")

    monkeypatch.setattr("parity.report.write_check_report", write_page, raising=False)
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return fake


def refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    """The complaint of a command that must fail with status 2 and in one line."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bnparity: ")
    assert (err.count("\n"), err[-1]) == (1, "\n")
    return err


# what is asked


def test_the_default_is_the_ci_preset_on_the_two_siblings(checked: FakeCheck) -> None:
    assert main(("check",)) == 0
    (call,) = checked.calls
    assert (call.reference, call.candidate, call.fault) == ("torch", "jax", None)
    assert call.config == CONFIGS["ci"]
    assert (call.command, call.data_dir) == ("bnparity check", None)


def test_presets_are_the_documented_ones() -> None:
    ci, full = (PRESETS[name].config() for name in ("ci", "full"))
    assert (ci, full) == (CONFIGS["ci"], CONFIGS["full"])
    assert (ci.depths, sorted(ci.batch_norm), ci.questions) == ((1, 3, 8, 25), [False, True], ("semantic", "precision"))
    assert (ci.dtypes, ci.num_seeds) == (("float32",), 1)
    assert (full.depths, sorted(full.batch_norm), full.questions) == ((1, 3, 8, 25, 50), [False, True], QUESTIONS)
    assert (full.dtypes, full.num_seeds) == (("float32", "bfloat16"), 3)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--depths 2 5", {"depths": (2, 5)}),
        ("--batch-norm on", {"batch_norm": (True,)}),
        ("--batch-norm off", {"batch_norm": (False,)}),
        ("--questions precision free_run", {"questions": ("precision", "free_run")}),
        ("--dtype float32", {"dtypes": ("float32",)}),
        ("--precision tf32", {"precision": "tf32"}),
        ("--device gpu", {"device": "gpu"}),
        ("--dataset fashion-mnist", {"dataset": "fashion-mnist"}),
        ("--seed 7", {"seed": 7}),
        ("--seeds 2", {"num_seeds": 2}),
        ("--time-limit 2.5", {"time_limit": 2.5}),
    ],
)
def test_an_option_overrides_the_preset_and_nothing_else(
    option: str, values: dict[str, Any], checked: FakeCheck
) -> None:
    assert main(("check", *option.split(), "--preset", "full")) == 0
    config = checked.calls[0].config
    expected = {name: getattr(CONFIGS["full"], name) for name in CheckConfig.__dataclass_fields__} | values
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("--running-variance biased", "running_variance", "biased"),
        ("--block-order norm_first", "block_order", "norm_first"),
        ("--eps 1e-3", "eps", 1e-3),
        ("--decay 0.99", "decay", 0.99),
        ("--hidden-width 32", "hidden_width", 32),
        ("--initialization he_normal", "initialization", "he_normal"),
        ("--residual", "residual", True),
        ("--dropout-rate 0.5", "dropout_rate", 0.5),
    ],
)
def test_every_convention_is_an_option(option: str, field: str, value: Any, checked: FakeCheck) -> None:
    assert main(("check", *option.split())) == 0
    spec = checked.calls[0].config.spec
    assert {name: getattr(spec, name) for name in vars(spec) if getattr(spec, name) != getattr(ModelSpec(), name)} == {
        field: value
    }


def test_several_differences_can_be_accepted(checked: FakeCheck) -> None:
    assert main(("check", "--accept", "fast_variance", "biased_running_variance")) == 0
    assert checked.calls[0].config.accept == ("fast_variance", "biased_running_variance")


def test_incomplete_is_1(checked: FakeCheck, capsys: pytest.CaptureFixture[str]) -> None:
    checked.result = agreeing(verdict=Verdict.INCOMPLETE, not_asked=("semantic was not asked of the candidate jax",))
    assert main(("check",)) == 1
    assert capsys.readouterr().out.startswith("INCOMPLETE: semantic was not asked of the candidate jax\n")


def test_sides_and_fault_are_passed_on(checked: FakeCheck) -> None:
    sides = ("--reference", "numpy", "--candidate", "mine.port:Make", "--fault", "wrong_epsilon")
    assert main(("check", *sides, "--data-dir", "images")) == 0
    (call,) = checked.calls
    assert call.data_dir == "images"
    assert (call.reference, call.candidate, call.fault) == ("numpy", "mine.port:Make", "wrong_epsilon")


def test_help_shows_the_values_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("check", "--preset", "full", "--help"))
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    shown = ("default: full", "1 3 8 25 50", "float32 bfloat16", "default: 3)", "default: torch)", "default: jax)")
    assert [value for value in shown if value not in text] == []
    assert "\0" not in text


# bad input


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--dephts 2", ("--dephts", "--depths")),
        ("extra", ("extra",)),
        ("--preset lab", ("--preset", "lab", "ci", "full")),
        ("--depths 0", ("depth", "at least 1", "got 0")),
        ("--depths", ("depth", "got none")),
        ("--depths x", ("--depths", "x")),
        ("--batch-norm maybe", ("--batch-norm", "maybe", "on", "off", "both")),
        ("--questions", ("question", "semantic", "got none")),
        ("--questions why", ("--questions", "why", "semantic")),
        ("--dtype", ("--dtype", "got none")),
        ("--dtype float16", ("--dtype", "float16", "bfloat16")),
        ("--precision low", ("--precision", "low", "highest")),
        ("--device toaster", ("device", "toaster", "cpu")),
        ("--seed -1", ("seed", "at least 0", "-1")),
        ("--seed one", ("--seed", "one")),
        ("--seeds 0", ("seeds", "at least 1", "got 0")),
        ("--time-limit 0", ("time limit", "above 0", "0.0")),
        ("--time-limit nan", ("time limit", "above 0", "nan")),
        ("--accept nosuch", ("accepted difference", "'nosuch'", "fast_variance")),
        ("--accept fast_variance --batch-norm off", ("fast_variance", "does not apply")),
        ("--accept fast_variance --questions free_run", ("fast_variance", "semantic or the precision", "free_run")),
        ("--accept summed_loss wrong_epsilon double_softmax", ("different parts", "summed_loss")),
        ("--self-test --accept fast_variance", ("--self-test", "--accept")),
        ("--eps 0", ("eps", "above 0")),
        ("--decay 1", ("decay", "below 1")),
        ("--running-variance half", ("--running-variance", "biased")),
        ("--fault=", ("--fault", "got nothing")),
        ("--fault", ("--fault",)),
        ("--json=", ("--json", "got nothing")),
        ("--html=", ("--html", "got nothing")),
        ("--junit", ("--junit",)),
        ("--json a --junit ./a", ("--json", "--junit", "different files", "'a'")),
        ("--json no/where.json", ("--json", "no/where.json", "no folder")),
        ("--html .", ("--html", "folder")),
        ("--list-faults --json a", ("--list-faults", "--json")),
        ("--list-faults --self-test", ("--list-faults", "--self-test")),
        ("--self-test --html a", ("--self-test", "--html")),
        ("--self-test --fault double_update", ("--self-test", "--fault")),
        ("--self-test --candidate numpy", ("--self-test", "--candidate")),
    ],
)
def test_bad_input_is_one_line_and_no_work(
    arguments: str, named: tuple[str, ...], checked: FakeCheck, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint = refused(("check", *arguments.split()), capsys)
    assert [name for name in named if name not in complaint] == []
    assert checked.calls == []
    assert list(Path.cwd().iterdir()) == []


def test_only_a_regular_file_is_ever_replaced(checked: FakeCheck, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    complaint = refused(("check", "--junit", "pipe"), capsys)
    assert "--junit 'pipe': it is no regular file" in complaint
    assert Path("pipe").is_fifo()
    assert checked.calls == []


def test_two_options_that_lead_to_one_file_are_refused(checked: FakeCheck, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.json").symlink_to("verdict.json")
    Path("verdict.json").write_text("kept")
    assert "different files" in refused(("check", "--json", "verdict.json", "--html", "link.json"), capsys)
    assert Path("verdict.json").read_text() == "kept"
    assert checked.calls == []


# the verdict


def test_agreement_is_0(checked: FakeCheck, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("check",)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("AGREE: jax computes what torch computes\n")
    assert err == ""


def test_disagreement_is_1_and_says_why(checked: FakeCheck, capsys: pytest.CaptureFixture[str]) -> None:
    checked.result = disagreeing()
    assert main(("check", *ALL_FILES)) == 1
    out = capsys.readouterr().out
    assert out.startswith("DISAGREE: jax does not compute what torch computes\n")
    assert f"  {EVIDENCE}\n" in out
    assert sorted(path.name for path in Path.cwd().iterdir()) == sorted(FILES.values())
    assert json.loads(Path("verdict.json").read_text())["cause"]["name"] == "biased_running_variance"
    assert Path("verdict.html").read_text() == "<html>disagree</html>"
    assert ElementTree.parse("verdict.xml").getroot().get("failures") == "1"


def test_progress_is_told_on_standard_error(
    checked: FakeCheck, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(*sides: str, progress: Any, **options: Any) -> CheckReport:
        with progress:
            progress.update(0.5, "depth 8 with batch norm")
        return checked(*sides, **options)

    install(monkeypatch, "parity.check.run", check=check)
    assert main(("check",)) == 0
    out, err = capsys.readouterr()
    assert "50% depth 8 with batch norm" in err
    assert "50%" not in out


def test_interruption_is_130_and_leaves_no_verdict(checked: FakeCheck, capsys: pytest.CaptureFixture[str]) -> None:
    Path("verdict.json").write_text("stale")
    checked.result = KeyboardInterrupt()
    assert main(("check", "--json", "verdict.json")) == 130
    assert capsys.readouterr() == ("", "bnparity: interrupted\n")
    assert list(Path.cwd().iterdir()) == []


def test_a_reader_that_has_gone_does_not_change_the_exit_status(tmp_path: Path) -> None:
    code = (
        "import sys, types; from check_reports import disagreeing; from parity.cli import main\n"
        "sys.modules['parity.check.run'] = module = types.ModuleType('run')\n"
        "module.check = lambda *sides, **options: disagreeing()\n"
        "sys.exit(main(['check', '--json', 'verdict.json']))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes: Any = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{code}"], **pipes
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "disagree"


def test_where_standard_output_takes_nothing_the_files_are_written(
    checked: FakeCheck, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(draw: Any) -> None:
        raise InputError("standard output cannot be written: No space left on device; send it elsewhere")

    monkeypatch.setattr("parity.commands.check.show", full)
    assert main(("check", *ALL_FILES)) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert {path.name for path in Path.cwd().iterdir()} == set(FILES.values())


# files of an earlier run


def write_stale() -> None:
    for name in FILES.values():
        Path(name).write_text(f"stale {name}")


def test_stale_files_are_gone_before_the_check_starts(checked: FakeCheck) -> None:
    write_stale()
    assert main(("check", *ALL_FILES)) == 0
    assert checked.calls[0].files == []
    assert "stale" not in "".join(Path(name).read_text() for name in FILES.values())


def test_a_crash_leaves_no_stale_verdict(checked: FakeCheck) -> None:
    write_stale()
    checked.result = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        main(("check", *ALL_FILES))
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "more", [("--depths", "0"), ("--junit", "no/where.xml"), ("--device", "toaster"), ("--nosuch",), ()]
)
def test_bad_input_keeps_the_files_of_an_earlier_run(
    more: tuple[str, ...], checked: FakeCheck, capsys: pytest.CaptureFixture[str]
) -> None:
    write_stale()
    checked.result = InputError("no backend is named 'mlx'")  # what only the check itself can tell
    arguments = ("check", "--json", "verdict.json", "--html", "verdict.html", *more)
    refused(arguments, capsys)
    assert len(checked.calls) == (0 if more else 1)
    found = {path.name: path.read_text() for path in Path.cwd().iterdir()}
    assert found == {name: f"stale {name}" for name in FILES.values()}


# the catalogue and the self-test


def test_faults_are_listed(
    checked: FakeCheck, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = SimpleNamespace(name="wrong_epsilon", what="1e-3 for [1e-5]", signature="ratio fits", remedy="use 1e-5")
    install(monkeypatch, "parity.check.catalogue", CATALOGUE={"wrong_epsilon": entry})
    assert main(("check", "--list-faults")) == 0
    assert capsys.readouterr() == (
        "wrong_epsilon\n    1e-3 for [1e-5]\n    signature: ratio fits\n    to change: use 1e-5\n",
        "",
    )
    assert checked.calls == []


@pytest.mark.parametrize(("passed", "status"), [(True, 0), (False, 1)])
def test_self_test_ends_with_its_answer(
    passed: bool, status: int, checked: FakeCheck, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("verdict.json").write_text("stale")
    asked: list[CheckConfig] = []

    def self_test(config: CheckConfig, *, progress: Any) -> SimpleNamespace:
        assert not Path("verdict.json").exists()
        assert hasattr(progress, "update")
        asked.append(config)
        return SimpleNamespace(passed=passed, to_dict=lambda: {"passed": passed, "worst": float("nan")})

    def print_self_test(report: SimpleNamespace, console: Any) -> None:
        console.print(f"passed: {report.passed}")

    install(monkeypatch, "parity.check.self_test", self_test=self_test)
    monkeypatch.setattr(import_module("parity.check.screen"), "print_self_test", print_self_test)
    assert main(("check", "--self-test", "--depths", "1", "--json", "verdict.json")) == status
    assert capsys.readouterr().out == f"passed: {passed}\n"
    assert json.loads(Path("verdict.json").read_text()) == {"passed": passed, "worst": None}
    assert asked[0].depths == (1,)
    assert checked.calls == []


def test_parsing_gives_a_check() -> None:
    parsed = parse(("check", "--preset=full", "--seeds=9"))
    assert isinstance(parsed, Check)
    assert (parsed.preset, parsed.seeds, parsed.depths) == ("full", 9, (1, 3, 8, 25, 50))
