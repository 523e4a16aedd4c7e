"""The report of a check for other programs: JSON and JUnit XML. What people read is in `screen`."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from parity import junit
from parity.check.free_run import fails
from parity.check.records import (
    SCHEMA,
    Cause,
    CheckReport,
    Equivalence,
    FreeRun,
    Measurement,
    Question,
    Setting,
)
from parity.check.screen import (
    all_settings,
    cause_of,
    format_report,
    place,
    sensitive_question,
    verdict_words,
)
from parity.check.words import times_words
from parity.files import write_object
from parity.junit import TestCase


def report_dict(report: CheckReport) -> dict[str, Any]:
    """The report after the contract in the design, its values as they are; `write_object` makes JSON of them."""
    question = sensitive_question(report)
    return {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "failed_question": report.failed_question,
        "comparisons": report.comparisons,
        "first_divergence": None if report.first_divergence is None else _measurement(report, report.first_divergence),
        "cause": _cause(cause_of(report)) if report.disagrees else None,
        "other_causes": [_cause(cause) for cause in report.other_causes],
        "sensitivity": 0.0 if question is None else report.sensitivity(question),
        "not_compared": report.not_compared,
        "not_asked": report.not_asked,
        "accepted": report.accepted,
        "environment": report.environment,
        "message": report.message,
        "reference": report.reference,
        "candidate": report.candidate,
        "safety": report.safety,
        "limits": [_limits(report, *case) for case in _cases(report) if _measurements(report, *case)],
        "free_runs": [_record(run) for run in report.free_runs],
        "equivalences": [_record(found) for found in report.equivalences],
        "config": asdict(report.config),
        "command": report.command,
        "seconds": report.seconds,
    }


def _measurement(report: CheckReport, found: Measurement) -> dict[str, Any]:
    return {
        "step": found.step,
        "layer": found.layer,
        "tensor": found.tensor,
        "times_noise": found.times_noise,
        "question": found.question,
        **asdict(found.setting),
        "pair": found.pair,
        "distance": found.distance,
        "floor": found.floor,
        "limit": report.safety * found.floor,
        "size": found.size,
        "relative": found.relative,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "name": cause.name,
        "evidence": cause.evidence,
        "remedy": cause.remedy,
        "relative": cause.relative,
        "side": cause.side,
        "predicted": None if cause.predicted is None else np.ravel(cause.predicted),
        "observed": None if cause.observed is None else np.ravel(cause.observed),
        "axes": cause.axes,
    }


def _measurements(report: CheckReport, question: Question, setting: Setting) -> list[Measurement]:
    return [m for m in report.measurements if (m.question, m.setting) == (question, setting)]


def _limits(report: CheckReport, question: Question, setting: Setting) -> dict[str, Any]:
    worst = report.worst(question, setting)
    return {
        "question": question,
        **asdict(setting),
        "comparisons": sum(m.is_candidates for m in _measurements(report, question, setting)),
        "worst": None if worst is None else _measurement(report, worst),
        "limit_times_noise": report.safety,
        "sensitivity": report.sensitivity(question, setting) or None,
    }


def _record(record: FreeRun | Equivalence) -> dict[str, Any]:
    rest = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "setting"}
    return {**asdict(record.setting), **rest}


def write_json(report: CheckReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        InputError: the place cannot be written.
    """
    write_object(report_dict(report), path)


def write_junit(report: CheckReport, path: Path) -> None:
    """Write the report as JUnit XML: a test case for each question and setting.

    Raises:
        InputError: the place cannot be written.
    """
    cases, failed = _cases(report), _failed(report)
    every: list[tuple[Question, Setting | None]] = [*cases, *(case for case in failed if case not in cases)]
    shown = [
        TestCase(
            group=f"bnparity.check.{question}",
            name="the whole check" if setting is None else str(setting),
            failure=_failure(report, question, setting) if (question, setting) in failed else None,
            kind=str(report.verdict),
        )
        for question, setting in every
    ]
    title = f"bnparity check: {report.title(report.candidate)} against {report.title(report.reference)}"
    junit.write_junit(title, shown, format_report(report), report.seconds, path)


def _cases(report: CheckReport) -> list[tuple[Question, Setting]]:
    """Every question and setting that was asked, questions in order."""
    asked = {(m.question, m.setting) for m in report.measurements}
    asked |= {(Question.FREE_RUN, run.setting) for run in report.free_runs}
    asked |= {(Question.STATISTICAL, found.setting) for found in report.equivalences}
    settings = all_settings(report)
    return [(question, setting) for question in Question for setting in settings if (question, setting) in asked]


def _failed(report: CheckReport) -> list[tuple[Question, Setting | None]]:
    """Return what the answer is no to, or what could not be asked: empty if they agree, and only then."""
    if report.agrees:
        return []
    if not report.disagrees:
        asked = {Question(line.split()[0]) for line in report.not_asked if line.split()[0] in set(Question)}
        return [(question, None) for question in Question if question in asked] or [(Question.SEMANTIC, None)]
    first = report.first_divergence
    failed: list[tuple[Question, Setting | None]] = [(first.question, first.setting)] if first is not None else []
    failed += [(m.question, m.setting) for m in report.measurements if not m.times_noise <= report.safety]
    failed += [(Question.FREE_RUN, r.setting) for r in report.free_runs if fails(r, report.safety)]
    failed += [(Question.STATISTICAL, e.setting) for e in report.equivalences if e.outcome == "different"]
    if all(question is not report.failed_question for question, _ in failed):
        failed.insert(0, (report.failed_question or Question.CRASH, None))
    return list(dict.fromkeys(failed))


def _first(report: CheckReport, question: Question, setting: Setting | None) -> Measurement | None:
    """The first measurement of a test case that is beyond its limit."""
    first = report.first_divergence
    if first is not None and (first.question, first.setting) == (question, setting):
        return first
    own = (m for m in report.measurements if (m.question, m.setting) == (question, setting))
    return next((m for m in own if not m.times_noise <= report.safety), None)


def _failure(report: CheckReport, question: Question, setting: Setting | None) -> str:
    """One line: what is wrong in a test case."""
    if not report.disagrees:
        mine = [line for line in report.not_asked if line.startswith(f"{question} ")]
        return " ".join(mine) or verdict_words(report)
    if (first := _first(report, question, setting)) is not None:
        times = f"{times_words(first.times_noise)} the noise floor, limit {report.safety:.4g}"
        return f"first divergence: {place(first)}, {times}"
    cause = cause_of(report)
    return f"{cause.name}: {cause.evidence}"
