"""Findings as GitHub's annotations: one command each, at its file and line, and none that a candidate could give."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_compare_report import disagreeing, findings

from parity.pair.annotations import annotations, format_github, inert
from parity.pair.findings import FindingKind
from parity.pair.records import CompareReport, Finding, PairCause
from parity.pair.report import crashed
from parity.pair.screen import format_report, heading
from parity.verdict.verdict import Verdict

WEIGHTS, STRETCH, BACKWARD, UPDATE = findings()
COMMANDS = ("error", "warning", "notice")
AGREES: dict[str, Any] = {"verdict": Verdict.AGREE, "findings": (), "accepted": ()}


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(line: str) -> tuple[str, dict[str, str], str]:
    """Take a command apart as GitHub's runner does."""
    assert "\n" not in line
    head, _, message = line.removeprefix("::").partition("::")
    name, _, given = head.partition(" ")
    assert line.startswith("::")
    assert name in COMMANDS
    found = {key: unescaped(value) for key, _, value in (each.partition("=") for each in given.split(","))}
    return name, found, unescaped(message)


def unescaped(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def shown(report: CompareReport, pair: str = "pairs/cnn.py") -> list[tuple[str, dict[str, str], str]]:
    return [read(line) for line in annotations(report, pair)]


def test_a_finding_is_an_error_at_the_line_of_the_candidate() -> None:
    ((name, given, message),) = shown(disagreeing(findings=(STRETCH,), accepted=()))
    assert name == "error"
    assert given == {"file": "port.py", "line": "4", "title": "forward: between blocks.1.a and blocks.1.b"}
    assert message.split("\n") == [
        "value: blocks.1.b input in training and evaluation",
        "off by: a relative error of 0.00019, 3.8e+11 times the noise floor (limit 16)",
        "cause: gelu_form: GELU is its tanh form",
        "to change: approximate=False",
    ]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"reference": "net.py:9", "candidate": None}, {"file": "net.py", "line": "9"}),
        ({"reference": "net.py:9", "candidate": "/usr/lib/port.py:4"}, {"file": "net.py", "line": "9"}),
        ({"reference": None, "candidate": "/usr/lib/port.py:4"}, {"file": "/usr/lib/port.py", "line": "4"}),
        ({"candidate": "a:b.py:4"}, {"file": "a:b.py", "line": "4"}),
        ({}, {"file": "pairs/cnn.py"}),
    ],
)
def test_else_it_is_at_the_references_or_at_the_pair(source: dict[str, str | None], place: dict[str, str]) -> None:
    ((_, given, _),) = shown(disagreeing(findings=(replace(BACKWARD, source=source),), accepted=()))
    assert {key: value for key, value in given.items() if key != "title"} == place


def test_files_are_named_as_the_checkout_has_them(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(checkout))
    (checkout / "model").mkdir()
    monkeypatch.chdir(checkout / "model")
    files = [given["file"] for _, given, _ in shown(disagreeing(findings=(STRETCH, UPDATE), accepted=()))]
    assert files == ["model/port.py", "model/pairs/cnn.py"]


def test_a_pair_that_is_a_module_has_no_file() -> None:
    ((_, given, _),) = shown(disagreeing(findings=(UPDATE,), accepted=()), "pairs.cnn")
    assert given == {"title": "update: the model"}


def test_a_candidate_that_raises_is_shown_where_it_does() -> None:
    words = "raised ValueError: (at x.py:1, in f) no (at port.py:7, in Net.__call__)"
    ((_, given, message),) = shown(crashed(words, {}))
    assert (given["file"], given["line"]) == ("port.py", "7")
    assert message == f"the candidate: {words}"
    ((_, given, _),) = shown(crashed("raised ValueError: no", {}))
    assert given == {"file": "pairs/cnn.py", "title": "crash"}


def test_what_could_not_be_compared_is_a_warning() -> None:
    lines = tuple(f"line {number}" for number in range(12))
    report = disagreeing(**{**AGREES, "verdict": Verdict.INCOMPLETE}, not_compared=lines)
    ((name, given, message),) = shown(report)
    assert name == "warning"
    assert given["title"] == "nothing differs, but not everything could be compared"
    assert message.split("\n") == [*lines[:10], "and 2 more"]
    assert shown(disagreeing(**AGREES, not_compared=lines)) == []


def test_what_is_accepted_is_a_notice_with_its_reason() -> None:
    accepted = ({"name": "norm_epsilon", "place": "*", "seen": ["n"], "reason": "as in\nthe paper", "at_most": None},)
    ((name, given, message),) = shown(disagreeing(**AGREES | {"accepted": accepted}))
    assert (name, given["file"]) == ("notice", "pairs/cnn.py")
    assert message == "norm_epsilon@*, seen at n (as in the paper)"


EVIL = "\r\n::error file=x::owned\n##[error]owned\n%0A::warning::owned\u2028::notice::x, a=b\x1b]0;x\x07"


def test_what_a_candidate_says_gives_no_command_of_its_own() -> None:
    hostile = replace(STRETCH, reference=EVIL, candidate=EVIL, value=EVIL, agrees=EVIL, between=(EVIL, EVIL),
                      candidate_between=(EVIL, "b"), cause=PairCause(name=EVIL, evidence=EVIL, remedy=EVIL),
                      source={"reference": f"{EVIL}:1", "candidate": f"{EVIL}:{EVIL}"})  # fmt: skip
    report = disagreeing(
        findings=(hostile, Finding(kind=FindingKind.CRASH, cause=PairCause(evidence=f"{EVIL} (at {EVIL}:1, in f)"))),
        title=EVIL,
        not_compared=(EVIL, "::error::" + "x" * 99),
        accepted=({"name": "n", "place": EVIL, "seen": [EVIL], "reason": EVIL},),
        islands=({"side": EVIL, "source": EVIL, "operation": EVIL, "dtype": EVIL},),
    )
    lines = format_github(report, f"{EVIL}.py").split("\n")
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert commands == lines[-3:]
    assert [read(line)[0] for line in commands] == ["error", "error", "notice"]
    assert read(commands[0])[1]["title"] == heading(hostile)
    assert all(read(line)[1].keys() <= {"file", "line", "title"} for line in commands)
    assert not any("##[" in line for line in lines[:-3])
    assert all(line.isprintable() for line in lines)
    assert format_report(report).count("::error") > 5  # the text had them


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::error::x", ": :error::x"),
        ("a\n  ::x", "a\n  : :x"),
        ("\u3000::x", "\u3000: :x"),
        ("a ::x : y", "a ::x : y"),
        ("a ##[set-output name=x]y", "a ## [set-output name=x]y"),
        (":::x", ": ::x"),
    ],
)
def test_a_line_of_text_begins_no_command(text: str, expected: str) -> None:
    assert inert(text) == expected


def test_the_usual_text_comes_first() -> None:
    report = disagreeing()
    assert format_github(report, "pair.py").startswith(f"{format_report(report)}\n::error ")
