"""Each side in a process of its own: its crash, hang or settings do not reach the check, and nothing is left of it."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import misbehaving
import numpy as np
import pytest

from parity import CheckConfig, InputError, ModelSpec, check
from parity.cli import main
from parity.process import THREAD_SETTINGS, SideError
from parity.process.worker import serve
from parity.reference import NumpyBackend
from parity.sides import SideSpec, load_target, open_side

CONFIG = CheckConfig(
    spec=ModelSpec(input_dim=12, output_dim=5, hidden_width=8),
    depths=(1,),
    batch_norm=(True,),
    sampled_steps=(0,),
    questions=("semantic",),
    time_limit=20.0,
)
SCRIPT = """
import parity
print("began")
config = parity.CheckConfig(
    spec=parity.ModelSpec(input_dim=12, output_dim=5, hidden_width=8), depths=(1,), questions=("semantic",)
)
print(parity.check("numpy", "numpy", config=config).verdict)
"""


def side_of(name: str, time_limit: float | None = 20.0):
    return open_side(SideSpec(target=f"misbehaving:{name}", time_limit=time_limit))


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or will be as soon as its parent notices."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


# starting


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "raises",
            "cannot be loaded: it raised RuntimeError: no licence for this machine \\(at .*, in raises",
        ),
        ("exits", "misbehaving:exits cannot be started: it raised SystemExit: 0"),
        ("dies", "misbehaving:dies cannot be started: it ended with exit status 0"),
        ("crashes", "misbehaving:crashes cannot be started: it was ended by SIGSEGV"),
        ("hangs", "misbehaving:hangs cannot be started: it gave no answer within the time limit of 1.5 s"),
        ("no_backend", "is no backend but an object of type dict; it must be an object with the method learner"),
        ("class_of_backend", "is no backend but the class Bent; it must be an object with the method learner"),
        ("nowhere", "'misbehaving:nowhere' cannot be loaded: it raised AttributeError"),
    ],
)
def test_what_cannot_start_is_bad_input(name: str, words: str) -> None:
    started = time.perf_counter()
    with pytest.raises(InputError, match=words), side_of(name, time_limit=1.5 if name == "hangs" else 20.0):
        pass
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("target", ["nobody", "misbehaving:", ":honest", ""])
def test_a_name_has_a_form(target: str) -> None:
    with pytest.raises(InputError, match=r"choose one of .*numpy.*, package\.module:factory"):
        check("numpy", target, config=CONFIG)


def test_command_exits_with_2_on_what_cannot_start(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--reference", "numpy", "--candidate", "misbehaving:dies", "--depths", "1"]) == 2
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err == "bnparity: misbehaving:dies cannot be started: it ended with exit status 0\n"


# answering


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "^raised RuntimeError: no licence for this machine \\(at .*misbehaving.py:[0-9]+, in raises\\)$"),
        ("exits", "^raised SystemExit: 0 "),
        ("interrupts", "^raised KeyboardInterrupt"),
        ("dies", "^ended with exit status 0$"),
        ("crashes", "^was ended by SIGSEGV$"),
        ("hangs", r"^gave no answer within the time limit of 2 s, and was ended$"),
    ],
)
def test_a_side_that_fails_says_how(name: str, words: str) -> None:
    with side_of(f"{name}_in_training", time_limit=2.0) as side, pytest.raises(SideError, match=words):
        side.call(misbehaving.train_once)


def test_a_side_that_has_ended_stays_so() -> None:
    with side_of("dies_in_training") as side:
        for _ in range(2):
            with pytest.raises(SideError, match="ended with exit status 0"):
                side.call(misbehaving.train_once)


def test_a_side_that_hung_is_ended_at_once() -> None:
    with side_of("hangs_in_training", time_limit=1.5) as side:
        with pytest.raises(SideError, match="no answer"):
            side.call(misbehaving.train_once)
        with pytest.raises(SideError, match="was ended by SIGKILL"):
            side.call(misbehaving.train_once)


def test_a_side_that_raised_can_be_asked_again() -> None:
    with side_of("exits_in_training") as side:
        with pytest.raises(SideError, match="SystemExit"):
            side.call(misbehaving.train_once)
        assert side.call(misbehaving.surroundings)["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (misbehaving.unsendable, "^gave an answer that cannot be sent"),
        (misbehaving.unreadable, "^gave an answer that cannot be read: raised RuntimeError: no licence"),
        (misbehaving.missing, "^gave an answer that cannot be read: raised FileNotFoundError"),
    ],
)
def test_an_answer_that_does_not_arrive(task: Callable[..., object], words: str) -> None:
    with side_of("honest") as side:
        with pytest.raises(SideError, match=words):
            side.call(task)
        assert side.call(misbehaving.echo, 1) == 1


def test_threads_that_ask_one_side_at_once_take_turns() -> None:
    large = [np.full(1 << 20, float(number)) for number in range(8)]  # more than a pipe holds: a send takes many writes
    with side_of("honest") as side, ThreadPoolExecutor(len(large)) as pool:
        answers = list(pool.map(lambda array: side.call(misbehaving.echo, array), large))
    assert all(np.array_equal(answer, array) for answer, array in zip(answers, large, strict=True))


def test_long_words_are_cut() -> None:
    with side_of("raises_at_length_in_training") as side, pytest.raises(SideError) as error:
        side.call(misbehaving.train_once)
    assert len(str(error.value)) < 1100


@pytest.mark.parametrize("time_limit", [1e7, 1e300, float("inf"), None])
def test_a_limit_may_be_longer_than_the_system_can_wait(time_limit: float | None) -> None:
    with side_of("honest", time_limit) as side:
        assert "head.bias" in side.call(misbehaving.train_once)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "hangs_in_training",
            "the candidate misbehaving:hangs_in_training gave no answer within the time limit of 2 s",
        ),
    ],
)
def test_a_side_without_an_answer_is_a_verdict(name: str, words: str) -> None:
    started = time.perf_counter()
    report = check("numpy", f"misbehaving:{name}", config=replace(CONFIG, time_limit=2.0))
    assert time.perf_counter() - started < 15
    assert (report.verdict, report.failed_question) == ("disagree", "crash")
    assert words in report.message
    assert report.cause is not None
    assert report.cause.side == "candidate"


def test_command_exits_with_1_on_a_candidate_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--reference", "numpy", "--candidate", "misbehaving:raises_in_training", "--depths", "1"]
    assert main(["check", *options, "--batch-norm", "on", "--questions", "semantic"]) == 1
    output = capfd.readouterr()
    assert "no licence for this machine" in " ".join(output.out.split())
    assert "Traceback" not in output.err


# apart from each other


def test_a_side_has_settings_of_its_own() -> None:
    before, path = dict(os.environ), list(sys.path)
    with side_of("settles") as side:
        theirs = side.call(misbehaving.surroundings)
        assert theirs["environment"]["BNPARITY_SETTLED"] == "yes"
        assert theirs["environment"]["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS", "1")
        assert theirs["path"] == ["settled", *path, ""]
    assert (dict(os.environ), sys.path) == (before, path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("3", "3", "3")),
        ({"OMP_NUM_THREADS": "2"}, ("2", None, None)),  # which MKL and OpenBLAS go by then
        ({"MKL_NUM_THREADS": "2"}, (None, None, "2")),
        ({"OPENBLAS_NUM_THREADS": "2"}, ("3", "2", "3")),
    ],
)
def test_the_users_settings_of_threads_hold(
    given: dict[str, str], expected: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREAD_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with open_side(SideSpec(target="numpy", threads=3)) as side:
        assert side.call(thread_settings) == expected


def thread_settings(backend: object) -> tuple[str | None, ...]:
    """The settings of threads in a side's process; called there."""
    return tuple(os.environ.get(name) for name in THREAD_SETTINGS)


def test_a_side_imports_what_this_process_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden_port.py").write_text("from misbehaving import honest\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with open_side(SideSpec(target="hidden_port:honest")) as side:
        assert side.call(misbehaving.surroundings)["path"][0] == str(tmp_path)


def test_modules_of_the_working_directory_shadow_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("random", "numpy", "parity", "misbehaving"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with side_of("honest") as side:
        assert side.call(misbehaving.surroundings)["working_directory"] == str(tmp_path)


def test_what_a_side_prints_is_not_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with side_of("chatters") as side:
        side.call(misbehaving.train_once)
    output = capfd.readouterr()
    assert output.out == ""
    assert len(output.err) > 1e6


def test_a_side_reads_no_input() -> None:
    kept, (ours, theirs) = os.dup(0), os.pipe()  # into which nobody ever writes
    os.dup2(ours, 0)
    try:
        with side_of("chatters"):
            pass
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, ours, theirs):
            os.close(descriptor)


# from outside


def run(folder: Path, *command: str | Path, script: str = "") -> str:
    done = subprocess.run(command, input=script, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("from_stdin", [True, False])
def test_a_script_needs_no_guard(from_stdin: bool, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    output = run(tmp_path, sys.executable, "-" if from_stdin else "script.py", script=SCRIPT)
    assert output.split() == ["began", "agree"]


def test_command_finds_a_port_in_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "port.py").write_text("from parity.reference import NumpyBackend as make\n")
    command = Path(sys.executable).with_name("bnparity")
    options = ["--reference", "numpy", "--depths", "1", "--batch-norm", "off", "--questions", "semantic"]
    output = run(tmp_path, command, "check", "--candidate", "port:make", *options)
    assert output.startswith("AGREE: port:make")


def start_hanging(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A command whose candidate hangs, with a process of its own; the check's process, and the numbers of the two."""
    options = ["--candidate", "misbehaving:starts_a_process", "--depths", "1", "--batch-norm", "on"]
    process = subprocess.Popen(
        [sys.executable, "-m", "parity", "check", "--reference", "numpy", *options, "--questions", "semantic"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    pids: list[str] = []
    while len(pids) < 2 and process.poll() is None:
        time.sleep(0.1)
        pids = (folder / "PIDS").read_text().split() if (folder / "PIDS").is_file() else []
    return process, [int(pid) for pid in pids]


def interrupt_group(process: subprocess.Popen) -> None:
    """What a terminal does on Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


def interrupt_check(process: subprocess.Popen) -> None:
    """What a notebook does."""
    process.send_signal(signal.SIGINT)


@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize(
    ("end", "status"), [(interrupt_group, 130), (interrupt_check, 130), (subprocess.Popen.kill, -signal.SIGKILL)]
)
def test_nothing_outlives_the_check(end: Callable[[subprocess.Popen], None], status: int, tmp_path: Path) -> None:
    process, pids = start_hanging(tmp_path)
    try:
        assert pids
        end(process)
        errors = process.communicate(timeout=10)[1]
    finally:
        process.kill()
    assert process.returncode == status
    assert "Traceback" not in errors
    assert all(has_ended(pid) for pid in pids)


def test_a_check_that_is_killed_while_it_sends_is_gone() -> None:
    ours, theirs = Pipe()
    theirs.send(partial(load_target, SideSpec(target="numpy")))
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"half of it")
    with socket.socket(fileno=os.dup(theirs.fileno())) as half:
        half.shutdown(socket.SHUT_WR)
    with ours, theirs:
        serve(ours)
        assert theirs.recv() == (None, None)


def test_nothing_outlives_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with side_of("starts_a_process", time_limit=2.0) as side, pytest.raises(SideError, match="no answer"):
        side.call(misbehaving.train_once)
    assert all(has_ended(int(pid)) for pid in (tmp_path / "PIDS").read_text().split())


def test_a_side_that_has_ended_leaves_no_process_of_its_own(tmp_path: Path) -> None:
    with side_of("honest") as side, pytest.raises(SideError, match="ended with exit status 3"):
        side.call(misbehaving.leave_a_process, tmp_path)
    assert has_ended(int((tmp_path / "PID").read_text()))


def test_no_signal_is_sent_to_a_number_that_may_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a process has been waited for, the system may give its number to another."""
    killpg = os.killpg
    reaped: list[bool] = []

    def watched(number: int, sent: int) -> None:
        reaped.append(not Path(f"/proc/{number}").exists())
        killpg(number, sent)

    monkeypatch.setattr(os, "killpg", watched)
    with side_of("dies_in_training") as side:
        for _ in range(2):
            with pytest.raises(SideError, match="ended with exit status 0"):
                side.call(misbehaving.train_once)
    assert reaped
    assert not any(reaped)


# objects


def test_an_object_runs_here() -> None:
    with open_side(SideSpec(target=NumpyBackend())) as side:
        assert side.name == "numpy"
        assert side.call(misbehaving.surroundings)["pid"] == os.getpid()


@pytest.mark.parametrize(("action", "words"), [("raises", "no licence for this"), ("exits", "raised SystemExit: 0")])
def test_an_object_that_fails_says_how(action: str, words: str) -> None:
    target = misbehaving.doing(getattr(misbehaving, action))
    with open_side(SideSpec(target=target)) as side, pytest.raises(SideError, match=words):
        side.call(misbehaving.train_once)


@pytest.mark.parametrize("target", [misbehaving.Bent, misbehaving.honest, 3, {}])
def test_an_object_must_be_a_backend(target: Any) -> None:
    with pytest.raises(InputError, match="is no backend but"):
        check(NumpyBackend(), target, config=CONFIG)
