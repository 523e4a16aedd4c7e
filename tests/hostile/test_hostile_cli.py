"""Every command with hostile values of every option: exit status 0, 1 or 2, and at most one line of complaint."""

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hostile_cases import ANY_CHARACTER, assert_legible, hostile, paths, texts
from hostile_places import emptied
from hypothesis import strategies as st

from parity.backend import Backend
from parity.cli import main
from parity.commands.bench import Bench
from parity.commands.check import Check
from parity.commands.data import Data
from parity.commands.lab import Lab
from parity.commands.sweep import Sweep
from parity.errors import InputError

COMMANDS: dict[str, Any] = {"sweep": Sweep, "check": Check, "bench": Bench, "lab": Lab, "data": Data}
OPTIONS = {name: [f"--{f.name.replace('_', '-')}" for f in fields(command)] for name, command in COMMANDS.items()}
WORK = (
    ("parity.commands.sweep", "sweep"), ("parity.commands.sweep", "forecast_sweep"), ("parity.check.run", "check"),
    ("parity.check.self_test", "self_test"), ("parity.bench.run", "bench"), ("parity.lab", "run_lab"),
    ("parity.commands.data", "load_dataset"),
)  # fmt: skip
values = st.one_of(
    texts,
    paths,
    st.sampled_from((
        "0", "1", "2", "-1", "1.5", "1e3", "1e400", "-0", "nan", "inf", "9" * 30, "9" * 4300, "9" * 4301, "1_0", "١",
        "0x1", "on", "off", "both", "numpy", "jax", "torch", "quick", "lab", "ci", "full", "cpu", "synthetic",
        "fashion-mnist", "semantic", "float32", "0.1:1:3", "True", "False", "1,2", "[1]", "=", "--=", "--x=", "-x",
        "-h=1", "@/etc/passwd", "│", "╭─ Parsing error ─╮", "Perhaps you meant:", "Argument helptext:",
        "--tyro-print-completion", "--tyro-write-completion", "x" * 10**6, "\x1b" * 10**5,
    )),
    st.integers().map(str),
    st.floats().map(repr),
    st.text(ANY_CHARACTER, max_size=300),
)  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(list(COMMANDS)))
    words = [name] if draw(st.integers(0, 30)) else draw(st.lists(values, max_size=2))
    for _ in range(draw(st.integers(0, 3))):
        # Mostly an option with its one value: a line that the parser refuses says nothing of what comes after it.
        option = draw(st.sampled_from(OPTIONS[name])) if draw(st.integers(0, 5)) else draw(values)
        given = [draw(values)] if draw(st.integers(0, 5)) else draw(st.lists(values, max_size=2))
        words += [f"{option}={given[0]}"] if given and draw(st.booleans()) else [option, *given]
    return words


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the work would begin, it is refused; what would have begun is listed."""
    begun: list[str] = []

    def stop(name: str) -> Callable[..., None]:
        def refuse(*_: object, **__: object) -> None:
            begun.append(name)
            raise InputError("the work would begin here; this test does without")

        return refuse

    for module, name in WORK:
        monkeypatch.setattr(import_module(module), name, stop(name))
    # No framework is imported, which would take seconds and memory.
    monkeypatch.setattr("parity.commands.sweep.installed_siblings", lambda: ("numpy",))
    monkeypatch.setattr("parity.commands.sweep.load_backend", lambda name: Backend())
    return begun


@hostile(sample=250, many=9000, words=command_lines())
def test_command_lines(words: list[str], nothing_runs: list[str], tmp_path: Path) -> None:
    os.chdir(emptied(tmp_path / "place"))
    nothing_runs.clear()
    out, err = io.StringIO(), io.StringIO()
    helped = False
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as stop:  # help was asked for
            status, helped = stop.code or 0, True
    assert status in (0, 1, 2), words
    complaint = err.getvalue()
    if status == 2:
        assert (out.getvalue(), complaint[-1]) == ("", "\n")
        assert complaint.startswith("bnparity: ")
        assert_legible(complaint.removeprefix("bnparity: ").removesuffix("\n"))
        assert "────" not in complaint
        assert "----" not in complaint or "----" in "".join(words)
    else:
        assert complaint == ""
        assert helped or words[0] in ("data", "check", "--version")
    assert nothing_runs or status == 2 or helped or "--list-faults" in " ".join(words) or words == ["--version"]
