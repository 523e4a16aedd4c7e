"""The command line: bad input is one line and exit status 2, Ctrl-C is 130, and a crash is 1."""

import csv
import io
import re
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import bnparity
from parity.cli import COMMANDS, main, parse
from parity.commands.data import Data
from parity.commands.sweep import PRESETS, Sweep
from parity.errors import InputError
from parity.files import make_folder
from parity.spec import BlockOrder
from parity.sweep import LearningRates, SweepConfig
from parity.sweep.identity import Identity
from parity.sweep.store import Store

SCRIPT = Path(sys.executable).with_name("bnparity")
QUICK = ("sweep", "--framework", "numpy", "--dataset", "synthetic", "--passes", "1", "--depths", "1")
PIPES: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
SHORT = (*QUICK, "--batch-norm", "off", "--learning-rates", "0.1:0.2:2")


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a command that must leave nothing behind."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# bad input


def refused(arguments: Sequence[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The complaint of a command that must fail with status 2, in one line, and leave nothing behind."""
    status = main(arguments)
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.startswith("bnparity: ")
    assert (err.count("\n"), err[-1]) == (1, "\n")
    assert list(folder.iterdir()) == []
    return err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("nosuch",), ("nosuch", "sweep", "check", "data")),
        (("swep",), ("no command is named 'swep'", "did you mean sweep?", "see bnparity --help")),
        (("--verison",), ("did you mean --version?",)),
        (("--completion",), ("--completion takes one of bash, zsh, tcsh, got nothing",)),
        (("--completion", "fish"), ("--completion takes one of bash, zsh, tcsh, got fish",)),
        (("sweep", "extra"), ("extra",)),
        (("sweep", "--dephts", "2"), ("--dephts", "did you mean --depths N [N ...] (see bnparity sweep --help)")),
        (("sweep", "--version"), ("--version",)),
        (("sweep", "--depths"), ("depths",)),
        (("sweep", "--depths", "0"), ("depths", "at least 1", "got 0")),
        (("sweep", "--depths", "2", "-1"), ("-1",)),
        (("sweep", "--framework", "jax", "--device", "abacus"), ("no device 'abacus'", "choose one of cpu")),
        (("sweep", "--framework", "numpy", "--device", "cpu"), ("the backend 'numpy' takes no device",)),
        (("sweep", "--depths", "1.5"), ("--depths", "1.5")),
        (("sweep", "--depths", "deep"), ("--depths", "deep", "give it as --depths N [N ...]")),
        (("sweep", "--seeds", "1e3"), ("--seeds", "1e3", "give it as --seeds INT (see bnparity sweep --help)")),
        (("--preset", "lab"), ("no command is named '--preset'; choose one of sweep, check, compare, bench",)),
        (("sweep", "--batch-norm", "maybe"), ("--batch-norm", "maybe", "on", "off", "both")),
        (("sweep", "--preset", "nope"), ("--preset", "nope", "quick", "lab")),
        (("sweep", "--preset"), ("--preset",)),
        (("sweep", "--preset=--"), ("--preset", "quick", "lab")),
        (("sweep", "--framework", "nope"), ("nope", "jax", "numpy", "torch", "both")),
        (("sweep", "--framework", "PyTorch"), ("'PyTorch'", "did you mean torch?")),
        (("sweep", "--dataset", "fashion"), ("'fashion'", "did you mean fashion-mnist?")),
        (("sweep", "--framework"), ("--framework",)),
        (("sweep", "--learning-rates", "1:0.1:5"), ("1:0.1:5", "LOW below HIGH")),
        (("sweep", "--learning-rates", "0.1:1"), ("0.1:1", "LOW:HIGH:COUNT")),
        (("sweep", "--learning-rates", "0.1:1:2:3"), ("0.1:1:2:3", "LOW:HIGH:COUNT")),
        (("sweep", "--learning-rates", "a:b:c"), ("a:b:c", "LOW:HIGH:COUNT")),
        (("sweep", "--learning-rates", "0.1:1:2.5"), ("0.1:1:2.5", "LOW:HIGH:COUNT")),
        (("sweep", "--learning-rates", "0:1:3"), ("above 0", "got 0.0")),
        (("sweep", "--learning-rates", "0.1:inf:3"), ("finite", "got inf")),
        (("sweep", "--learning-rates", "nan:1:3"), ("finite", "got nan")),
        (("sweep", "--learning-rates", "0.1:1:1"), ("at least 2", "got 1")),
        (("sweep", "--learning-rates", "0.1:1:9999999999999"), ("9999999999999",)),
        (("sweep", "--learning-rates", ""), ("LOW:HIGH:COUNT", "got ''")),
        (("sweep", "--seeds", "0"), ("seeds", "at least 1", "got 0")),
        (("sweep", "--seeds"), ("--seeds",)),
        (("sweep", "--seeds", "two"), ("--seeds", "two")),
        (("sweep", "--passes", "0"), ("passes", "at least 1", "got 0")),
        (("sweep", "--passes", "9" * 30), ("passes must be at most 1000000",)),
        (("sweep", "--population-size", "9" * 30), ("population_size must be at most 100000",)),
        (("sweep", "--workers", "2"), ("--workers needs processes", "--executor processes")),
        (("sweep", "--executor", "cloud"), ("--executor", "cloud", "processes", "dask")),
        (("sweep", "--executor", "dask", "--scheduler", "nowhere"), ("address and a port", "got 'nowhere'")),
        (("sweep", "--time-limit", "soon", "--executor", "processes"), ("--time-limit", "soon")),
        (("sweep", "--passes", "-1"), ("-1",)),
        (("sweep", "--dataset", "nosuch"), ("nosuch", "fashion-mnist", "synthetic")),
        (("sweep", "--out"), ("--out",)),
        (("data", "--dataset", "nosuch"), ("nosuch", "fashion-mnist", "synthetic")),
        (("data", "--depths", "1"), ("--depths",)),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_it(
    arguments: tuple[str, ...], named: Sequence[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The reference is the default here only to save the time that importing a framework takes.
    if arguments[:1] == ("sweep",) and "--framework" not in arguments:
        arguments = ("sweep", "--framework", "numpy", *arguments[1:])
    complaint = refused(arguments, empty_folder, capsys)
    assert [name for name in named if name not in complaint] == []


@pytest.mark.parametrize("below", ["", "/out", "/deep/er"])
def test_out_that_cannot_be_written_is_one_line(
    below: str, empty_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    out = f"{tmp_path}/file{below}"
    complaint = refused((*SHORT, "--out", out), empty_folder, capsys)
    assert f"cannot write to --out '{out}'" in complaint
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("command", [("data",), ("sweep", "--framework", "numpy")])
def test_truncated_data_file_is_one_line(
    command: tuple[str, ...], empty_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (data / name).write_bytes(bytes((0, 0, 8, 3)))
    complaint = refused((*command, "--data-dir", str(data)), empty_folder, capsys)
    assert str(data / "train-images-idx3-ubyte") in complaint
    assert "ends after 4 bytes" in complaint


def test_data_folder_that_is_not_there_is_one_line(
    empty_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint = refused(("data", "--data-dir", str(tmp_path / "nowhere")), empty_folder, capsys)
    assert "nowhere' is not a folder" in complaint


def test_a_file_of_someone_else_stays_when_a_folder_is_tried(tmp_path: Path) -> None:
    (tmp_path / ".trial").write_text("kept")
    make_folder(tmp_path, option="--out")
    assert (tmp_path / ".trial").read_text() == "kept"


@pytest.mark.parametrize("arguments", [("x",), ("sweep", "--x"), ("sweep", "--seeds", "two")])
def test_a_terminal_without_lines_to_draw_gets_the_same_complaint(
    arguments: tuple[str, ...], empty_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = refused(arguments, empty_folder, capsys)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert main(arguments) == 2
    assert capsys.readouterr().err == complaint
    assert "---" not in complaint


def test_store_of_another_sweep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path / "sweep.sqlite", Identity({"passes": 7})):
        pass
    assert main((*SHORT, "--out", str(tmp_path))) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "passes is 7 there, 1 here" in err


# presets


def test_presets_are_the_documented_ones() -> None:
    quick, lab = parse(("sweep",)), parse(("sweep", "--preset", "lab"))
    assert (quick, lab) == (PRESETS["quick"], PRESETS["lab"])
    assert isinstance(quick, Sweep)
    assert isinstance(lab, Sweep)
    assert (quick.depths, quick.learning_rates, quick.seeds, quick.passes) == ((1, 2, 4, 8), "0.001:10:9", 1, 2)
    assert lab.depths == (1, 2, 3, 4, 5, 6, 7, 8, 10, 25, 50)
    assert (lab.learning_rates, lab.seeds, lab.passes) == ("0.001:100:21", 3, 5)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sweep", "--preset", "lab", "--seeds", "9", "--depths", "3", "5"),
        ("sweep", "--seeds", "9", "--depths", "3", "5", "--preset", "lab"),
        ("sweep", "--depths", "3", "5", "--preset=lab", "--seeds=9"),
    ],
)
def test_options_override_the_preset_wherever_they_stand(arguments: Sequence[str]) -> None:
    parsed = parse(arguments)
    assert isinstance(parsed, Sweep)
    assert (parsed.preset, parsed.seeds, parsed.depths) == ("lab", 9, (3, 5))
    assert (parsed.passes, parsed.learning_rates) == (5, "0.001:100:21")


def test_options_without_a_preset_override_the_quick_one() -> None:
    parsed = parse(("sweep", "--passes", "4", "--batch-norm", "on"))
    assert isinstance(parsed, Sweep)
    assert (parsed.passes, parsed.batch_norm, parsed.seeds, parsed.depths) == (4, "on", 1, (1, 2, 4, 8))


def test_every_option_is_a_word_of_the_configuration_or_says_how_to_run() -> None:
    how = {"preset", "data_dir", "out", "extend", "dry_run", "fail_fast", "executor", "workers", "scheduler"}
    how |= {"time_limit", "parquet"}
    only_in_python = {"hidden_width", "batch_size", "fraction"}
    config = SweepConfig(frameworks=("numpy",), depths=(1, 2, 4, 8))
    assert vars(Sweep()).keys() - how == config.to_words().keys() - only_in_python
    assert SweepConfig.from_words(vars(Sweep()) | {"framework": ("numpy",)}) == config


def test_the_words_of_the_command_line_make_the_configuration() -> None:
    arguments = ("--learning-rates", "0.1:10:3", "--batch-norm", "on", "--seeds", "3", "--block-order", "norm_first")
    config = SweepConfig.from_words(vars(parse(("sweep", *arguments))) | {"framework": ("numpy",)})
    assert config.learning_rates == LearningRates(0.1, 10.0, 3)
    assert (config.batch_norm, config.num_seeds, config.block_order) == ((True,), 3, BlockOrder.NORM_FIRST)
    words = {"learning_rates": "0.1:10:3", "batch_norm": ["on"], "seeds": 3, "block_order": "norm_first"}
    assert words.items() <= config.to_words().items()


def test_data_command_takes_no_preset() -> None:
    assert parse(("data", "--dataset", "synthetic")) == Data(dataset="synthetic")
    with pytest.raises(InputError, match="--preset"):
        parse(("data", "--preset", "lab"))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("sweep", "--help"), ("1 2 4 8)", "0.001:10:9", "default: 2)", "default: quick)")),
        (
            ("sweep", "--preset", "lab", "--help"),
            ("7 8 10 25 50)", "0.001:100:21", "default: 3)", "default: 5)", "default: lab)"),
        ),
    ],
)
def test_help_shows_the_values_of_the_preset(
    arguments: Sequence[str], shown: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code or 0, err) == (0, "")
    text = " ".join(out.replace("│", " ").split())  # without the frame and its line breaks
    assert [value for value in shown if value not in text] == []


# exit statuses


def test_finished_sweep_is_0_and_prints_its_thresholds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main((*SHORT, "--out", str(tmp_path))) == 0
    out, err = capsys.readouterr()
    assert str(tmp_path / "report.html") in out.replace("\n", "")
    assert (tmp_path / "report.html").exists()
    assert "NumPy" in out
    assert all(line.lstrip()[0].isdigit() for line in err.splitlines())  # progress, and no complaint
    command = tomllib.loads((tmp_path / "config.toml").read_text())["sweep"]["command"]
    assert command == " ".join(("bnparity", *SHORT, "--out", str(tmp_path)))


def test_diverged_trial_is_a_result_and_no_error(tmp_path: Path) -> None:
    assert main((*QUICK, "--batch-norm", "off", "--learning-rates", "0.1:1e6:2", "--out", str(tmp_path))) == 0
    assert {"trained", "diverged"} <= statuses(tmp_path)


def test_crashed_trial_is_1_and_stands_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("parity.reference.NumpyBackend.population", crash)
    assert main((*SHORT, "--out", str(tmp_path))) == 1
    assert statuses(tmp_path) == {"error"}
    assert "Traceback" not in capsys.readouterr().err


def test_interrupted_sweep_is_130_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("parity.reference.NumpyBackend.population", interrupt)
    assert main((*SHORT, "--out", str(tmp_path))) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("bnparity: interrupted")
    assert (tmp_path / "report.html").exists()
    assert str(tmp_path) in err


@pytest.mark.parametrize("command", [("data", "--dataset", "synthetic"), SHORT])
def test_interruption_outside_the_trials_is_130(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("parity.data.dataset.make_synthetic", interrupt)
    assert main(command) == 130
    assert capsys.readouterr() == ("", "bnparity: interrupted\n")


def test_an_interruption_while_the_commands_are_imported_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *rest: Any) -> None:
            if name == "parity.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "parity.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert bnparity.main() == 130
    assert capsys.readouterr() == ("", "bnparity: interrupted\n")


def test_a_reader_that_has_gone_does_not_change_the_exit_status(tmp_path: Path) -> None:
    with subprocess.Popen([SCRIPT, *SHORT, "--out", "out"], cwd=tmp_path, **PIPES) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_data_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("data", "--dataset", "synthetic")) == 0
    assert "10000 images of 784 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "expected"), [("numpy", ["numpy"]), ("both", ["jax", "torch"]), ("", ["jax", "torch"])]
)
def test_frameworks_of_a_sweep(option: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def stop(config: Any, **rest: Any) -> None:
        asked.extend(config.frameworks)
        raise InputError("far enough")

    monkeypatch.setattr("parity.commands.sweep.sweep", stop)
    assert main(("sweep", *(("--framework", option) if option else ()))) == 2
    assert asked == expected


# in a process of its own


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def statuses(folder: Path) -> set[str]:
    return {row["status"] for row in csv.DictReader((folder / "trials.csv").read_text().splitlines())}


@pytest.mark.parametrize("program", [(SCRIPT,), (sys.executable, "-m", "parity"), (sys.executable, "-m", "bnparity")])
def test_program_starts_either_way(program: tuple[str | Path, ...], tmp_path: Path) -> None:
    shown = run(*program, "--version", cwd=tmp_path)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"bnparity {version('bnparity')}\n", "")
    no_command = run(*program, cwd=tmp_path)
    assert (no_command.returncode, no_command.stderr) == (0, "")
    assert "Examples:" in no_command.stdout


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_comes_with_examples_and_lists_everything(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code or 0, err) == (0, "")
    listed = ("Examples:", "bnparity compare pair.py", "--version", "--completion bash|zsh|tcsh", *COMMANDS)
    assert [words for words in listed if words not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_no_default_is_shown_as_what_only_a_programmer_reads(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main((command, "--help"))
    out = capsys.readouterr().out
    shown = " ".join(out.translate({ord("\u2502"): " ", ord("|"): " "}).split())
    assert re.findall(r"\(default: *(?:None|''|\x00)? *\)|\{None\}", shown) == []
    assert "(default: " in shown


@pytest.mark.parametrize("words", ["", "sw", "sweep --dep", "--ver"])
def test_a_shell_completes_what_is_typed(words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In bash, whose completion can be asked."""
    with pytest.raises(SystemExit):
        main(("--completion", "bash"))
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    typed = ["bnparity", *words.split(" ")]
    array = " ".join(f"'{word}'" for word in typed)
    asked = (
        f"source '{tmp_path}/completion'; COMP_WORDS=({array}); COMP_CWORD={len(typed) - 1}; "
        f"COMP_LINE='{' '.join(typed)}'; COMP_POINT={len(' '.join(typed))}; _tyro_bnparity; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = {each.strip() for each in run("bash", "-c", asked, cwd=tmp_path).stdout.splitlines()}
    expected = {"": set(COMMANDS), "sw": {"sweep"}, "sweep --dep": {"--depths"}, "--ver": {"--version"}}[words]
    assert expected <= found


def test_help_names_the_commands_and_imports_no_framework(tmp_path: Path) -> None:
    shown = run(SCRIPT, "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "usage: bnparity" in shown.stdout
    assert "sweep" in shown.stdout
    asked = "import sys; from parity.cli import parse; parse(['sweep']); print({'jax', 'torch'} & sys.modules.keys())"
    assert run(sys.executable, "-c", asked, cwd=tmp_path).stdout == "set()\n"


@pytest.mark.usefixtures("heeds_interrupts")
def test_interrupted_process_leaves_readable_tables_and_goes_on(tmp_path: Path) -> None:
    command = [str(SCRIPT), *SHORT, "--depths", "1", "2", "3", "4", "--seeds", "2", "--out", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        first_line = process.stderr.readline()
        wait_for_a_trial(tmp_path / "out" / "sweep.sqlite")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert first_line.split()[:2] == ["0%", "numpy,"]  # no terminal, so plain lines
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("bnparity: interrupted; what is done lies in out")
    assert "Traceback" not in err
    found = statuses(tmp_path / "out")
    assert found
    assert found <= {"trained", "stuck", "diverged"}
    assert not tomllib.loads((tmp_path / "out" / "config.toml").read_text())["sweep"]["complete"]

    again = run(*command, cwd=tmp_path)
    assert (again.returncode, "Traceback" in again.stderr) == (0, False)
    assert tomllib.loads((tmp_path / "out" / "config.toml").read_text())["sweep"]["complete"]


def wait_for_a_trial(path: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            if connection.execute("SELECT count(*) FROM trials").fetchone()[0]:
                return
        except sqlite3.OperationalError:
            pass  # it is just being made
        finally:
            connection.close()
        time.sleep(0.01)
    raise AssertionError("no trial was recorded")
