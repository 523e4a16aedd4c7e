"""The report of a check as one HTML file that needs nothing beside it."""

from collections.abc import Sequence
from pathlib import Path

from parity.check.accepted import accepted_words
from parity.check.records import Cause, CheckReport, Measurement, Question
from parity.check.screen import MEANINGS, cause_lines, cause_of, pair_words, place, verdict_words
from parity.check.words import number_words
from parity.files import replace_file
from parity.report.check_figures import answering, check_figures
from parity.report.check_series import Group, groups_of
from parity.report.check_tables import WORDY, summary, tables
from parity.report.markup import Picture, configuration, render, take_picture

_OVERRIDDEN = ("num hidden layers", "use batch norm")  # of the spec: `depths` and `batch_norm` hold instead
LONGEST_MESSAGE = 20_000  # characters; no reader gets to the end of more


def write_check_report(report: CheckReport, path: Path) -> None:
    """Write the report of a check as one HTML file; the file is either the old one or the whole new one.

    Args:
        report: of the check.
        path: of the file.

    Raises:
        InputError: the place cannot be written.
    """
    groups = groups_of(report)
    pictures = [
        take_picture(
            figure.name,
            figure.draw,
            alt=f"{figure.alt} Data set: {report.config.dataset}.",
            caption=figure.caption,
        )
        for figure in check_figures(report, groups)
    ]
    replace_file(path, render_check_page(report, groups, pictures).encode())


def render_check_page(report: CheckReport, groups: Sequence[Group], pictures: Sequence[Picture]) -> str:
    """The HTML of a report, with its figures inside it."""
    answers = answering(report, [picture.name for picture in pictures])
    return render(
        "check.html.j2",
        report=report,
        verdict=str(report.verdict).upper(),
        words=verdict_words(report),
        facts=_facts(report),
        crashed=report.failed_question is Question.CRASH,
        message=_message(report),
        causes=[_cause(cause) for cause in (cause_of(report), *report.other_causes)] if report.disagrees else [],
        sensitivities=_sensitivities(report, groups),
        summary=summary(report, groups),
        tables=list(tables(report, groups)),
        answering=[(answers[picture.name], picture) for picture in pictures if picture.name in answers],
        further=[picture for picture in pictures if picture.name not in answers],
        wordy=WORDY,
        configuration=[entry for entry in configuration(report.config) if entry[0] not in _OVERRIDDEN],
    )


def _facts(report: CheckReport) -> list[tuple[str, str]]:
    """Return what was accepted, what failed, and where first."""
    facts = []
    if report.accepted:
        names = ", ".join(map(accepted_words, report.accepted))
        facts.append(("accepted", f"{names}; the reference is played with what is accepted"))
    if report.failed_question is not None:
        facts.append(("failed question", f"{report.failed_question}: {MEANINGS[report.failed_question]}"))
    if report.first_divergence is not None:
        facts.append(("first divergence", _divergence(report, report.first_divergence)))
    return facts


def _divergence(report: CheckReport, m: Measurement) -> str:
    return (
        f"{place(m)}: {m.magnitude}; {number_words(m.times_noise)} times the noise floor, where {report.safety:g} "
        f"times is the limit ({pair_words(m)}; {m.setting}; noise floor {number_words(m.floor)})"
    )


def _cause(cause: Cause) -> tuple[str, str]:
    return (f"{cause.name}, in the {cause.side}" if cause.side else cause.name), "; ".join(cause_lines(cause))


def _message(report: CheckReport) -> str:
    message = report.message
    if message in [cause.evidence for cause in (report.cause, *report.other_causes) if cause is not None]:
        return ""
    left = len(message) - LONGEST_MESSAGE
    return message if left <= 0 else f"{message[:LONGEST_MESSAGE]}\n[{left} more characters are left out]"


def _sensitivities(report: CheckReport, groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Each question with its comparisons and the smallest relative error that it is sure to catch."""
    found = []
    for question in Question:
        mine = [group for group in groups if group.question is question]
        if not mine:
            continue
        count = sum(m.is_candidates for group in mine for m in group.measurements)
        sensitivity = max(group.sensitivity for group in mine)
        caught = (
            f"; the smallest relative error sure to be caught in a natural step is {sensitivity:.2g}"
            if sensitivity
            else ""
        )
        if sensitivity >= 1:
            caught = f"; in some tensors rounding hides any error (sensitivity {sensitivity:.3g})"
        plural = "s" if len(mine) > 1 else ""
        found.append((question.replace("_", " "), f"{count:,} comparisons in {len(mine)} setting{plural}{caught}"))
    if report.free_runs:
        updates = sum(len(run.distances) for run in report.free_runs)
        found.append(("free run", f"{updates:,} updates in {len(report.free_runs)} runs"))
    if report.equivalences:
        outcomes = [found.outcome for found in report.equivalences]
        counted = ", ".join(f"{outcomes.count(name)} {name}" for name in dict.fromkeys(outcomes))
        found.append(("statistical", f"{len(outcomes)} tests: {counted}"))
    return found
