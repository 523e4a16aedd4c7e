"""The report of a comparison as GitHub shows it in a workflow: its findings at the lines that they are about.

    ::error file=F,line=L,title=T::message

A line of output that begins so is a command to GitHub's runner. What a candidate is called, and what it says when it
raises, is in these lines and in the report: it is escaped, so that it gives no command of its own.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from parity.errors import one_line
from parity.pair.findings import FindingKind
from parity.pair.records import CompareReport, Finding
from parity.pair.screen import accepted_words, format_report, heading, told, verdict_words
from parity.verdict.verdict import Verdict

SHOWN = ("the candidate", "value", "off by", "cause", "to change", "to try")  # of what is told of a finding
RAISED = re.compile(r".*\(at (?P<file>.+):(?P<line>\d+), in [^()]*\)")
MOST = 10  # lines of what could not be compared


def format_github(report: CompareReport, pair: str) -> str:
    """Return the report as text, and after it the annotations.

    Args:
        report: of the comparison.
        pair: its file, where no line is known, or module.
    """
    return "\n".join((inert(format_report(report)), *annotations(report, pair)))


def annotations(report: CompareReport, pair: str) -> Iterator[str]:
    """Yield a command for each finding, for what could not be compared, and for each accepted difference."""
    beside = {"file": _file(pair)} if pair.endswith(".py") else {}
    for finding in report.findings:
        message = "\n".join(f"{label}: {text}" for label, text in told(finding) if label in SHOWN)
        yield _command("error", {**(_at(finding) or beside), "title": heading(finding)}, message)
    if report.verdict is Verdict.INCOMPLETE:
        lines = [one_line(line) for line in report.not_compared]
        more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
        yield _command("warning", {**beside, "title": verdict_words(report)}, "\n".join((*lines[:MOST], *more)))
    for each in report.accepted:
        yield _command("notice", {**beside, "title": "accepted difference"}, one_line(accepted_words(each)))


def inert(text: str) -> str:
    """Return lines that a runner takes for text, whatever they begin with or hold.

    >>> print(inert("  ::error::x" + chr(10) + "a ##[error]x"))
      : :error::x
    a ## [error]x
    """
    lines = (re.sub(r"^(\s*):(?=:)", r"\1: ", line) for line in text.split("\n"))
    return "\n".join(lines).replace("##[", "## [")


def _at(finding: Finding) -> dict[str, str]:
    """File and line: the candidate's, else the reference's; before both, what lies in the checkout."""
    known = [finding.source.get(side) for side in ("candidate", "reference")]
    places = [each.rpartition(":")[::2] for each in known if each]
    if finding.kind is FindingKind.CRASH and (found := RAISED.fullmatch(finding.cause.evidence)):
        places = [(found["file"], found["line"])]
    every = [{"file": _file(file), "line": line} for file, line in places]
    return next((each for each in every if not Path(each["file"]).is_absolute()), every[0] if every else {})


def _file(file: str) -> str:
    """A file as seen from the checkout, or else from the current folder; one that lies elsewhere, as it is."""
    path = Path(file).absolute()
    root = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _command(name: str, properties: Mapping[str, str], message: str) -> str:
    given = ",".join(f"{key}={_escaped(one_line(value), ':,')}" for key, value in properties.items())
    return f"::{name} {given}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text
