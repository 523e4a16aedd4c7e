"""The tables of a check's page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from parity.check.free_run import fails
from parity.check.records import CheckReport, Measurement, Question, Setting
from parity.check.screen import MEANINGS, interval_words, place
from parity.check.words import number_words
from parity.report.check_series import Group, excess, is_beyond

MOST_ROWS = 20
_WITNESS = "The witness is the NumPy reference, computed by hand in float64."
_SETTING = ("depth", "batch norm", "seed", "dtype")
_PLACE = ("who", "where")
SUMMARY = (
    "question",
    *_SETTING,
    "comparisons",
    "beyond the limit",
    "times noise",
    "limit",
    "sensitivity",
    "worst tensor",
)
MEASURED = ("question", *_SETTING, *_PLACE, "times noise", "verdict", "distance", "noise floor", "size")
RUNS = (*_SETTING, "updates", "judged", "times noise", "limit", "horizon", "twins' horizon", "verdict")
TESTED = (
    *_SETTING, "quantity", "mean difference", "90% interval", "margin", "seeds", "seeds needed", "verdict", "note",
)  # fmt: skip
# Columns of words, which are aligned to the left.
WORDY = ("question", "batch norm", "dtype", *_PLACE, "worst tensor", "quantity", "verdict", "note", "message")


@dataclass(frozen=True)
class PageTable:
    """A table of the page.

    Args:
        name: its anchor.
        title: what it lists.
        header: the names of its columns.
        rows: its cells.
        note: what else must be said.
    """

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def summary(report: CheckReport, groups: Sequence[Group]) -> PageTable:
    """A row for each question and setting: what was compared, the worst, the limit, the sensitivity."""
    rows = [
        [
            str(group.question), *_setting(group.setting),
            str(sum(m.is_candidates for m in group.measurements)), str(len(group.beyond)),
            number_words(group.worst.times_noise), f"{report.safety:g}",
            f"{group.sensitivity:.2g}" if group.sensitivity else "–", place(group.worst),
        ]
        for group in groups
    ]  # fmt: skip
    note = (
        "Times noise and limit are multiples of the noise floor. Sensitivity is the smallest relative error "
        "sure to be caught in every tensor of that row that stands above its own floor."
    )
    return PageTable("summary", "By question and setting", SUMMARY, rows, note)


def tables(report: CheckReport, groups: Sequence[Group]) -> Iterator[PageTable]:
    """The further tables, in order; only those that have rows."""
    if report.free_runs:
        rows = list(_run_rows(report))
        yield PageTable("free_runs", f"Free run: {MEANINGS[Question.FREE_RUN]}", RUNS, rows)
    if report.equivalences:
        rows = list(_tested_rows(report))
        note = "The divergent learning rate is compared in natural logarithms; a loss is in nats, an accuracy a share."
        yield PageTable("equivalences", f"Statistical: {MEANINGS[Question.STATISTICAL]}", TESTED, rows, note)
    for question in dict.fromkeys(group.question for group in groups if group.beyond):
        beyond = [m for group in groups if group.question is question for m in group.beyond]
        shown = "all" if len(beyond) <= MOST_ROWS else f"the first {MOST_ROWS} of"
        note = f"In causal order: {shown} {len(beyond)}. The limit is {report.safety:g} times the noise floor."
        rows = _measured_rows(report, beyond[:MOST_ROWS])
        yield PageTable(f"beyond_{question}", f"Beyond the limit: {question} question", MEASURED, rows, note)
    if report.measurements:
        worst = sorted(report.measurements, key=excess, reverse=True)[:MOST_ROWS]
        rows = _measured_rows(report, worst)
        yield PageTable("worst", f"The {len(worst)} worst measurements", MEASURED, rows, _WITNESS)


def _setting(setting: Setting) -> list[str]:
    return [str(setting.depth), "on" if setting.batch_norm else "off", str(setting.seed), setting.dtype]


def _measured_rows(report: CheckReport, found: Iterable[Measurement]) -> list[list[str]]:
    return [
        [
            str(m.question), *_setting(m.setting), " against ".join(m.pair), place(m), number_words(m.times_noise),
            "beyond" if is_beyond(report, m.times_noise) else "within", number_words(m.distance),
            number_words(m.floor), number_words(m.size),
        ]
        for m in found
    ]  # fmt: skip


def _run_rows(report: CheckReport) -> Iterator[list[str]]:
    for run in report.free_runs:
        judged = run.judged if run.setting.dtype == "float64" else 0
        verdict = "not judged" if not judged else "beyond" if fails(run, report.safety) else "within"
        horizons = ["none" if horizon is None else str(horizon) for horizon in (run.horizon, run.twin_horizon)]
        yield [
            *_setting(run.setting), str(len(run.distances)), str(judged), number_words(run.times_noise),
            f"{report.safety:g}", *horizons, verdict,
        ]  # fmt: skip


def _tested_rows(report: CheckReport) -> Iterator[list[str]]:
    for found in report.equivalences:
        yield [
            *_setting(found.setting), found.quantity, number_words(found.mean) if found.seeds else "none",
            *interval_words(found), str(found.seeds), str(found.seeds_needed or "–"), found.outcome, found.note,
        ]  # fmt: skip
