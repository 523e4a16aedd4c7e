"""The report of a comparison as text: the verdict first, then each finding, then what was compared and what was not."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from parity.backend.port import Island
from parity.errors import one_line
from parity.pair.findings import FindingKind
from parity.pair.records import CompareReport, Finding, module_words, stretch_words
from parity.verdict.compare import SAFETY
from parity.verdict.verdict import UNEXPLAINED, Verdict

WIDTH = 100
MOST_FINDINGS = 20
MOST_NAMES = 5
SIDES = ("reference", "candidate")
MODES = {"train": "training"}
IN_TRAINING = re.compile(r" in train\b")
# A call is given (positions, keywords), and so its values are named.
LEAVES = (
    (re.compile(r"input\[0\]\[0\]"), "input"),
    (re.compile(r"input\[[01]\]\['?(\w+)'?\]"), r"input \1"),
)
HINTS = {  # where to look, if no cause is known
    "stretch": "read the code between the two: an activation, a sum, a scale, an order of axes",
    FindingKind.WEIGHTS: "look at how this tensor is stored, and which one takes its place in the candidate",
    FindingKind.FORWARD: "look at what the module is set to on both sides: padding, stride, epsilon, mask, axes",
    FindingKind.BACKWARD: "look for a gradient that is stopped, and for functions with a gradient of their own",
    FindingKind.GRADIENT: "look for a weight that is shared or used twice on one side, or whose gradient is stopped",
    FindingKind.STATISTICS: "look at the momentum, and at which variance is kept",
    FindingKind.UPDATE: "look at the optimizer: momentum, Nesterov, weight decay, epsilon, clipping, schedule",
    FindingKind.PRECISION: "look for a cast to a narrower dtype, and for the dtype in which sums are added up",
}
STYLES = {Verdict.AGREE: "bold green", Verdict.DISAGREE: "bold red", Verdict.INCOMPLETE: "bold yellow"}


def format_report(report: CompareReport) -> str:
    """The report as plain text."""
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(Group(*_blocks(report)))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def print_report(report: CompareReport, console: Console) -> None:
    """Print the report."""
    if console.is_terminal:
        console.print(Group(*_blocks(report)))
    else:
        console.out(format_report(report), highlight=False)


def verdict_words(report: CompareReport) -> str:
    """Return the verdict in a sentence, after its name."""
    if report.verdict is Verdict.AGREE:
        return "the candidate computes what the reference computes"
    if report.verdict is Verdict.INCOMPLETE:
        return "nothing differs, but not everything could be compared"
    count = len(report.findings)
    if any(finding.kind is FindingKind.CRASH for finding in report.findings):
        return "the candidate could not be run"
    return f"the two part at {count} places" if count != 1 else "the two part at one place"


def _blocks(report: CompareReport) -> Iterator[RenderableType]:
    title = f" ({one_line(report.title)})" if report.title else ""
    yield Text(f"{report.verdict.upper()}: {verdict_words(report)}{title}", STYLES[report.verdict])
    for each in report.accepted:
        yield Text(one_line(f"accepted: {accepted_words(each)}"))
    if report.comparisons:
        sides = side_words(report)
        yield Text(f"{sides}{'; ' if sides else ''}{report.comparisons:,} comparisons in {report.seconds:.1f} s")
        yield Text(_limit(report))
        rest = rest_words(report)
        yield Text(f"compared: {coverage_words(report)}{'. ' if rest else ''}{rest}")
    for number, finding in enumerate(report.findings[:MOST_FINDINGS], 1):
        yield Text()
        yield Text(f"{number}. {heading(finding)}", "bold")
        yield Padding(Group(*(Text(line) for line in lines(finding))), (0, 0, 0, 3))
    if len(report.findings) > MOST_FINDINGS:
        yield Text(f"\nand {len(report.findings) - MOST_FINDINGS} more, in --json and --html")
    if report.islands:
        yield Text()
        yield Text("narrow numbers in a float64 run", "bold")
        yield Padding(Group(*(Text(one_line(f"- {island_words(each)}")) for each in report.islands)), (0, 0, 0, 2))
    if report.not_compared:
        yield Text()
        yield Text("not compared", "bold")
        yield Padding(Group(*(Text(f"- {line}") for line in missed_words(report))), (0, 0, 0, 2))


def accepted_words(accepted: Mapping[str, Any], most: int = MOST_NAMES) -> str:
    """Name an accepted difference, where it was seen, and why it is accepted.

    Args:
        accepted: as a report has it.
        most: modules that are named.
    """
    size, reason = accepted.get("at_most"), accepted.get("reason")
    limit = "" if size is None else f", at most {size:g} of its size"
    because = f" ({one_line(reason)})" if reason else ""
    return f"{accepted['name']}@{accepted['place']}{limit}, seen at {_few(accepted['seen'], most)}{because}"


def _few(modules: Sequence[str], most: int) -> str:
    more = f" and {len(modules) - most} more" if len(modules) > most else ""
    return f"{', '.join(map(module_words, modules[:most])) or 'nowhere'}{more}"


def island_words(island: Mapping[str, Any]) -> str:
    """What is computed in narrower numbers, and where, in words."""
    return f"{island['side']}: {Island(*(island[name] for name in Island._fields))}"


def _limit(report: CompareReport) -> str:
    return (
        f"limit: {SAFETY:g} times the noise floor, which is how far rounding alone moves a value; what agrees is off "
        f"by {report.worst:.2g} noise floors at most; any relative error above {report.sensitivity:.1g} is seen"
    )


def side_words(report: CompareReport) -> str:
    """Which framework is the reference and which the candidate; "" if that is not known."""
    found = {side: report.environment[side] for side in SIDES if side in report.environment}
    return ", ".join(f"{side}: {report.titles.get(name, name)}" for side, name in found.items())


def missed_words(report: CompareReport) -> list[str]:
    """What was not compared, in lines."""
    return [one_line(IN_TRAINING.sub(" in training", readable(line))) for line in report.not_compared]


def rest_words(report: CompareReport) -> str:
    """What of the values that were not compared by themselves; "" if there are none."""
    values, modules = (report.coverage.get(name) for name in ("boundaries", "modules"))
    if values is None or modules is None or values.compared == values.all or modules.compared < modules.all:
        return ""
    return (
        f"The other {values.all - values.compared} values have no partner in the candidate: "
        "what is computed from them was compared."
    )


def coverage_words(report: CompareReport) -> str:
    """How much was compared, in words."""
    names = {"boundaries": "values that enter or leave a module"}
    return ", ".join(
        f"{each.compared} of {each.all} {names.get(name, name)}" for name, each in report.coverage.items() if each.all
    )


def heading(finding: Finding) -> str:
    """Where a finding is and of what kind, in one line."""
    return one_line(f"{finding.kind}: {finding.place}") if finding.kind is not FindingKind.CRASH else "crash"


def lines(finding: Finding) -> list[str]:
    """What is said of a finding, in lines."""
    return [f"{label}: {text}" for label, text in told(finding)]


def told(finding: Finding) -> list[tuple[str, str]]:
    """What is said of a finding: where, which value, how far, what agrees, why, what to change."""
    cause = finding.cause
    if finding.kind is FindingKind.CRASH:
        named = [("cause", cause.name), ("to change", cause.remedy)] if cause.name != UNEXPLAINED else []
        return [("the candidate", one_line(cause.evidence)), *named]
    ours, theirs = finding.between, finding.candidate_between
    found = []
    if ours is not None and theirs is not None and ours != theirs:
        found.append(("in the candidate", stretch_words(*theirs)))
    near = "called at" if ours is None else "near"
    code = [f"{finding.source[side]} in the {side}" for side in SIDES if finding.source.get(side)]
    found.append(("code", f"{near} {' and '.join(code)}" if code else ""))
    found += [("value", _value(finding)), ("off by", _size(finding)), ("around it", finding.agrees)]
    found.append(("cause", cause_words(finding)))
    found.append(("to change", cause.remedy))
    if cause.name == UNEXPLAINED and not cause.remedy:
        found.append(("to try", HINTS["stretch" if ours is not None and _is_forward(finding) else finding.kind]))
    return [(label, one_line(text)) for label, text in found if text]


def cause_words(finding: Finding) -> str:
    """The cause, and in words what it is; that there is none."""
    cause = finding.cause
    if finding.kind is FindingKind.CRASH:
        return ""
    words = cause.evidence or ("no cause that is known here reproduces it" if cause.name == UNEXPLAINED else "")
    return one_line(f"{cause.name}: {words}" if words else cause.name)


def _is_forward(finding: Finding) -> bool:
    return finding.kind is FindingKind.FORWARD


def readable(value: str) -> str:
    """Name a value as its module's caller would: the input, and not where it stands among positions and keywords."""
    for pattern, words in LEAVES:
        value = pattern.sub(words, value)
    return value


def _value(finding: Finding) -> str:
    """Which value is off, and when it is."""
    value = finding.value
    if not value or value in finding.cause.evidence:  # the cause says it
        return ""
    value = readable(value)
    if finding.kind in (FindingKind.BACKWARD, FindingKind.GRADIENT):
        value = f"the gradient of {value}"
    if finding.kind is FindingKind.UPDATE:
        return f"{value}, at update {finding.step + 1}"
    modes = [MODES.get(mode, mode) for mode in finding.modes]
    return value + (f" in {' and '.join(modes)}" if modes else "")


def _size(finding: Finding) -> str:
    if finding.times_noise is None:
        return ""
    if not isfinite(finding.times_noise):
        if finding.relative is None or not isfinite(finding.relative):
            return "more than any number says: it is not finite (NaN or infinite) on one side alone"
        return f"a relative error of {finding.relative:.2g}; rounding cannot move this value at all"
    times = f"{finding.times_noise:.2g} times the noise floor (limit {SAFETY:g})"
    return times if finding.relative is None else f"a relative error of {finding.relative:.2g}, {times}"
