"""The tables of a check's page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from parity.check.free_run import fails
from parity.check.records import CANDIDATE, REFERENCE, WITNESS, CheckReport, Measurement, Question, Setting
from parity.check.screen import MEANINGS, interval_words, place
from parity.check.words import number_words
from parity.report.check_series import Group, excess, is_beyond
from parity.report.slim_table import SlimTable, slim

MOST_ROWS = 20
_NUMPY = (
    "NumPy stands for the same network computed by hand in float64, which tells which of the two is off. "
    "Each pair of sides has its distance in noise floors; a dash where the two were not compared. Carried on: a side's "
    "own state went in, not one that both were given."
)
_SETTING = ("depth", "batch norm", "seed", "dtype")
SUMMARY = (
    "question", *_SETTING, "worst tensor", "times noise", "beyond the limit", "comparisons", "sensitivity",
)  # fmt: skip
# Pairs of sides, and their columns: what a side is beside the others is read along one row.
PAIRS = {
    (CANDIDATE, REFERENCE): "candidate to reference",
    (CANDIDATE, WITNESS): "candidate to NumPy",
    (REFERENCE, WITNESS): "reference to NumPy",
}
MEASURED = ("where", *PAIRS.values(), "question", *_SETTING, "largest distance", "noise floor", "size")
RUNS = (*_SETTING, "verdict", "times noise", "updates", "judged", "horizon", "twins' horizon")
TESTED = (
    "quantity", *_SETTING, "verdict", "mean difference", "90% interval", "margin", "seeds", "seeds needed", "note",
)  # fmt: skip
# Columns of words, which are aligned to the left.
WORDY = ("question", "batch norm", "dtype", "where", "worst tensor", "quantity", "verdict", "note", "message")


@dataclass(frozen=True)
class PageTable:
    """A table of the page.

    Args:
        name: its anchor.
        title: what it lists.
        table: its columns, of which those that never change are in a sentence.
        note: what else must be said.
    """

    name: str
    title: str
    table: SlimTable
    note: str = ""


def summary(report: CheckReport, groups: Sequence[Group]) -> PageTable:
    """A row for each question and setting, the worst first: what was compared, the worst, the sensitivity."""
    rows = [
        [
            str(group.question), *_setting(group.setting), place(group.worst), number_words(group.worst.times_noise),
            str(len(group.beyond)), str(sum(m.is_candidates for m in group.measurements)),
            f"{group.sensitivity:.2g}" if group.sensitivity else "–",
        ]
        for group in sorted(groups, key=lambda group: excess(group.worst), reverse=True)
    ]  # fmt: skip
    note = (
        f"Times noise: of the worst tensor, in noise floors, of which {report.safety:g} are allowed. Sensitivity: the "
        "smallest relative error sure to be caught in every tensor of that row that stands above its own floor."
    )
    return PageTable(
        "summary", "By question and setting", slim(SUMMARY, rows, ("question", "times noise", "beyond the limit")), note
    )


def tables(report: CheckReport, groups: Sequence[Group]) -> Iterator[PageTable]:
    """The further tables, in order; only those that have rows."""
    if report.free_runs:
        table = slim(RUNS, list(_run_rows(report)), ("verdict", "times noise"))
        note = f"Times noise: in units of the furthest twin that differs by one ulp; {report.safety:g} are allowed."
        yield PageTable("free_runs", f"Free run: {MEANINGS[Question.FREE_RUN]}", table, note)
    if report.equivalences:
        table = slim(TESTED, list(_tested_rows(report)), ("verdict",))
        note = "The divergent learning rate is compared in natural logarithms; a loss is in nats, an accuracy a share."
        yield PageTable("equivalences", f"Statistical: {MEANINGS[Question.STATISTICAL]}", table, note)
    tensors = _tensors(report)
    for question in dict.fromkeys(group.question for group in groups if group.beyond):
        own = [each for each in tensors if each[0].question is question]
        rows = _measured_rows(each for each in own if any(is_beyond(report, m.times_noise) for m in each))
        shown = "all" if len(rows) <= MOST_ROWS else f"the first {MOST_ROWS} of"
        note = f"In causal order: {shown} {len(rows)}. The limit is {report.safety:g} noise floors. {_NUMPY}"
        title = f"Beyond the limit: {question} question"
        yield PageTable(f"beyond_{question}", title, _measured_table(rows[:MOST_ROWS]), note)
    if report.measurements and not report.disagrees:
        worst = sorted(tensors, key=lambda each: max(map(excess, each)), reverse=True)
        rows = _measured_rows(worst[:MOST_ROWS])
        title = f"The {len(rows)} tensors that are furthest off"
        yield PageTable("worst", title, _measured_table(rows), _NUMPY)


def _setting(setting: Setting) -> list[str]:
    return [str(setting.depth), "on" if setting.batch_norm else "off", str(setting.seed), setting.dtype]


def _tensors(report: CheckReport) -> list[list[Measurement]]:
    """The measurements of each tensor, one for each pair of sides; in a report they stand together.

    A place alone does not tell tensors apart: an update is compared from a given state and within a carried window.
    """
    found: list[list[Measurement]] = []
    for m in report.measurements:
        last = found[-1] if found else []
        is_same = last and (m.question, m.setting, m.key, m.order, m.shared) == (
            last[0].question, last[0].setting, last[0].key, last[0].order, last[0].shared
        )  # fmt: skip
        if is_same and m.pair not in [each.pair for each in last]:
            last.append(m)
        else:
            found.append([m])
    return found


def _measured_rows(tensors: Iterable[Sequence[Measurement]]) -> list[list[str]]:
    """A row for each tensor, in which its pairs of sides stand side by side."""
    rows = []
    for found in tensors:
        pairs, worst = {m.pair: m for m in found}, max(found, key=excess)
        where = place(worst) + ("" if worst.shared else ", carried on")
        off = [number_words(pairs[pair].times_noise) if pair in pairs else "–" for pair in PAIRS]
        sizes = [number_words(value) for value in (worst.distance, worst.floor, worst.size)]
        rows.append([where, *off, str(worst.question), *_setting(worst.setting), *sizes])
    return rows


def _measured_table(rows: Sequence[Sequence[str]]) -> SlimTable:
    compared = [name for name in PAIRS.values() if any(row[MEASURED.index(name)] != "–" for row in rows)]
    return slim(MEASURED, rows, ("where", *compared))


def _run_rows(report: CheckReport) -> Iterator[list[str]]:
    for run in report.free_runs:
        judged = run.judged if run.setting.dtype == "float64" else 0
        verdict = "not judged" if not judged else "beyond" if fails(run, report.safety) else "within"
        horizons = ["none" if horizon is None else str(horizon) for horizon in (run.horizon, run.twin_horizon)]
        yield [
            *_setting(run.setting), verdict, number_words(run.times_noise), str(len(run.distances)), str(judged),
            *horizons,
        ]  # fmt: skip


def _tested_rows(report: CheckReport) -> Iterator[list[str]]:
    for found in report.equivalences:
        yield [
            found.quantity, *_setting(found.setting), found.outcome,
            number_words(found.mean) if found.seeds else "none", *interval_words(found), str(found.seeds),
            str(found.seeds_needed or "–"), found.note,
        ]  # fmt: skip
