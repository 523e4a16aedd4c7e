"""The report of a check as text: the verdict first, then what it rests on. Legible in 80 columns and through a pipe."""

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from parity.check.accepted import accepted_words
from parity.check.records import WITNESS, Cause, CheckReport, Equivalence, Measurement, Question, Setting
from parity.check.self_test import SelfTestReport
from parity.check.words import number_words, times_words
from parity.verdict.verdict import UNEXPLAINED, Verdict

WIDTH = 80
MEANINGS = {
    Question.CRASH: "a side raised, hung, or gave what is no answer",
    Question.INPUTS: "what each side presents as its own inputs",
    Question.SEMANTIC: "both take the same step from the same state",
    Question.PRECISION: "each as close to float64 as its dtype allows",
    Question.FREE_RUN: "each on its own from the same weights",
    Question.STATISTICAL: "many seeds, paired",
}


def format_report(report: CheckReport) -> str:
    """The report as plain text, 80 columns wide."""
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(Group(*_blocks(report)))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def print_report(report: CheckReport, console: Console) -> None:
    """Print the report: verdict, first divergence, cause, what was not compared, and a table for each question."""
    if console.is_terminal:
        console.print(Group(*_blocks(report)))
    else:
        console.out(format_report(report), highlight=False)


def _blocks(report: CheckReport) -> Iterator[RenderableType]:
    yield from _verdict(report)
    if report.disagrees:
        yield from _disagreement(report)
    if len(report.not_asked) > 1 or (report.not_asked and report.disagrees):
        yield from _block("not asked", [f"- {reason}" for reason in report.not_asked])
    if report.not_compared:
        yield from _block("not compared", [f"- {reason}" for reason in report.not_compared])
    yield from _tables(report)


def verdict_words(report: CheckReport) -> str:
    """Return the verdict in a sentence, after its name.

    An incomplete check says the first thing that could not be asked, and how to ask for less.
    """
    if report.disagrees:
        return f"{report.title(report.candidate)} does not compute what {report.title(report.reference)} computes"
    if report.agrees:
        return f"{report.title(report.candidate)} computes what {report.title(report.reference)} computes"
    return report.not_asked[0] if report.not_asked else "not everything that was asked for could be asked"


STYLES = {Verdict.AGREE: "bold green", Verdict.DISAGREE: "bold red", Verdict.INCOMPLETE: "bold yellow"}


def _verdict(report: CheckReport) -> Iterator[Text]:
    yield Text(f"{report.verdict.upper()}: {verdict_words(report)}", STYLES[report.verdict])
    if report.accepted:
        names = ", ".join(map(accepted_words, report.accepted))
        yield Text(f"accepted: {names} (the reference is played with what is accepted)")
    if report.failed_question is not None:
        yield Text(f"failed question: {report.failed_question} ({MEANINGS[report.failed_question]})")
    yield Text(f"{report.comparisons} comparisons in {report.seconds:.1f} s; limit: {_limit(report)}")
    question = sensitive_question(report)
    if question is not None:
        words = f"{report.sensitivity(question):.2g}, the smallest relative error sure to be caught in a natural step"
        yield Text(f"sensitivity: {words}")


def sensitive_question(report: CheckReport) -> Question | None:
    """The question whose sensitivity is the report's: the semantic one, or else the precision one."""
    return next((question for question in (Question.SEMANTIC, Question.PRECISION) if report.settings(question)), None)


def _limit(report: CheckReport) -> str:
    return f"{report.safety:.4g} times the noise of rounding"


def _block(title: str, lines: Sequence[str], style: str = "") -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, "bold")
    yield Padding(Group(*(Text(line, style) for line in lines)), (0, 0, 0, 2))


def _disagreement(report: CheckReport) -> Iterator[RenderableType]:
    cause = cause_of(report)
    if report.message not in ("", cause.evidence):
        yield from _block("message", [report.message], "red")
    if report.first_divergence is not None:
        yield from _block("first divergence", _divergence(report, report.first_divergence))
    yield from _block("cause", [_named(cause), *cause_lines(cause)], "yellow")
    if report.other_causes:
        lines = [
            [f"{_named(other)}: {first}", *rest]
            for other in report.other_causes
            for first, *rest in [cause_lines(other)]
        ]
        yield from _block("other causes", [line for part in lines for line in part])


def _named(cause: Cause) -> str:
    return f"{cause.name}, in the {cause.side}" if cause.side else cause.name


def cause_lines(cause: Cause) -> list[str]:
    """Return what is said of a cause: its evidence, how large the difference is, and what to change."""
    remedy = f"to change: {cause.remedy}" if cause.remedy else ""
    return [cause.evidence, *filter(None, (cause.magnitude, remedy))]


def cause_of(report: CheckReport) -> Cause:
    """The cause of a disagreement; `unexplained` where the report names none."""
    evidence = report.message or "no cause was looked for"
    return report.cause or Cause(name=UNEXPLAINED, evidence=evidence, side="")


def _divergence(report: CheckReport, found: Measurement) -> list[str]:
    return [
        place(found),
        f"{found.setting}; {pair_words(found)}",
        found.magnitude,
        f"{times_words(found.times_noise)} the noise floor; the limit is {report.safety:.4g} times, "
        f"RMS {number_words(report.safety * found.floor)}",
    ]


def pair_words(found: Measurement) -> str:
    """Which two were compared; the third computation is NumPy's, by hand in float64."""
    return " against ".join("NumPy" if role == WITNESS else role for role in found.pair)


def place(found: Measurement) -> str:
    """Where a measurement stands, in words.

    >>> setting = Setting(depth=1, batch_norm=True, seed=0)
    >>> place(Measurement(question=Question.SEMANTIC, setting=setting, pair=("candidate", "reference"), order=0,
    ...                   step="probe:large_mean", layer=0, tensor="running variance", distance=1.0, floor=1.0,
    ...                   size=1.0, times_noise=1.0))
    'probe large_mean, layer 0, running variance'
    """
    step = found.step.replace(":", " ") if isinstance(found.step, str) else f"step {found.step}"
    if found.layer is None:
        return f"{step}, {found.tensor}"
    return f"{step}, {found.layer if isinstance(found.layer, str) else f'layer {found.layer}'}, {found.tensor}"


def _tables(report: CheckReport) -> Iterator[RenderableType]:
    for question in Question:
        settings = report.settings(question)
        for dtype, group in groupby(sorted(settings, key=lambda setting: setting.dtype), lambda s: s.dtype):
            table = _table(report, f"{question}, {dtype}: {MEANINGS[question]}")
            for name in ("compared", "times\nnoise", "limit", "sensi-\ntivity"):
                table.add_column(name, justify="right")
            table.add_column("worst tensor", overflow="fold")
            for setting in group:
                table.add_row(*_setting(report, setting), *_measured(report, question, setting))
            yield from (Text(), table)
    if report.free_runs:
        yield from (Text(), _free_runs(report))
    if report.equivalences:
        yield from (Text(), _equivalences(report))
        yield from (Padding(Text(note), (0, 0, 0, 2)) for note in _notes(report))


def _table(report: CheckReport, title: str) -> Table:
    table = Table(title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("depth", "batch\nnorm", "seed")[: 2 + _many_seeds(report)]:
        table.add_column(name, justify="left" if name == "batch\nnorm" else "right")
    return table


def _many_seeds(report: CheckReport) -> bool:
    return len({setting.seed for setting in all_settings(report)}) > 1


def all_settings(report: CheckReport) -> list[Setting]:
    """Every configuration of which anything was asked."""
    records = (*report.measurements, *report.free_runs, *report.equivalences)
    return list(dict.fromkeys(record.setting for record in records))


def _setting(report: CheckReport, setting: Setting) -> list[str]:
    seed = [str(setting.seed)] if _many_seeds(report) else []
    return [str(setting.depth), "on" if setting.batch_norm else "off", *seed]


def _measured(report: CheckReport, question: Question, setting: Setting) -> list[str]:
    found = [m for m in report.measurements if (m.question, m.setting) == (question, setting)]
    worst = max(found, key=lambda m: m.times_noise)
    sensitivity = report.sensitivity(question, setting)
    smallest = f"{sensitivity:.2g}" if sensitivity else ""
    compared = sum(m.is_candidates for m in found)
    return [str(compared), number_words(worst.times_noise), f"{report.safety:.4g}", smallest, place(worst)]


def _free_runs(report: CheckReport) -> Table:
    table = _table(report, f"{Question.FREE_RUN}: {MEANINGS[Question.FREE_RUN]}")
    for name in ("dtype", "updates", "judged", "times noise", "limit", "horizon", "twins' horizon"):
        table.add_column(name, justify="left" if name == "dtype" else "right")
    for run in report.free_runs:
        horizons = ["none" if horizon is None else str(horizon) for horizon in (run.horizon, run.twin_horizon)]
        measured = [str(len(run.distances)), str(run.judged), number_words(run.times_noise), f"{report.safety:.4g}"]
        table.add_row(*_setting(report, run.setting), run.setting.dtype, *measured, *horizons)
    return table


def _equivalences(report: CheckReport) -> Table:
    table = _table(
        report, f"{Question.STATISTICAL}: {MEANINGS[Question.STATISTICAL]}; 90% interval of the mean difference"
    )
    for name in ("dtype", "quantity", "outcome", "interval", "margin", "seeds"):
        table.add_column(name, justify="right" if name in ("margin", "seeds") else "left", no_wrap=name == "outcome")
    for found in report.equivalences:
        needed = "" if found.seeds_needed is None else f" (needs {found.seeds_needed})"
        cells = [found.setting.dtype, found.quantity, found.outcome, *interval_words(found)]
        table.add_row(*_setting(report, found.setting), *cells, f"{found.seeds}{needed}")
    return table


def interval_words(found: Equivalence) -> tuple[str, str]:
    """Return the interval of the mean difference and its margin; "none" where too few seeds have a number."""
    if found.seeds < 2:
        return "none", "none"
    return f"{number_words(found.low, 2)} to {number_words(found.high, 2)}", number_words(found.margin, 2)


def _notes(report: CheckReport) -> list[str]:
    return [f"{found.quantity}, {found.setting}: {found.note}" for found in report.equivalences if found.note]


def print_self_test(report: SelfTestReport, console: Console) -> None:
    """Print the two scores, what the fixed rules would have said of the same cases, and every case that is wrong."""
    faults, variants = len(report.faults), len(report.variants)
    verdict = "PASSED" if report.passed else "FAILED"
    console.print(f"self-test {verdict}: {faults} faults, {variants} honest variants", highlight=False)
    table = Table("rule", "faults caught", "named right", "honest flagged", box=None)
    for name, caught, named, flagged in report.scores():
        ours = name == report.scores()[0][0]
        table.add_row(name, f"{caught}/{faults}", f"{named}/{faults}" if ours else "", f"{flagged}/{variants}")
    console.print(table)
    for case in report.cases:
        if not case.right:
            said = f"named {case.named or 'nothing'}" if case.flagged else "not caught"
            console.print(f"  {case.framework}, depth {case.depth}, {case.name}: {said} {case.where}", highlight=False)
    for reason in report.skipped:
        console.print(f"  left out: {reason}", highlight=False)
