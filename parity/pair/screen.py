"""The report of a comparison as text: the verdict first, then each finding, then what was compared and what was not."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from parity.pair.records import CompareReport, Finding
from parity.verdict.compare import SAFETY
from parity.verdict.verdict import UNEXPLAINED, Verdict

WIDTH = 100
MOST_FINDINGS = 20
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
    return f"the two part at {count} places" if count != 1 else "the two part at one place"


def _blocks(report: CompareReport) -> Iterator[RenderableType]:
    title = f" ({report.title})" if report.title else ""
    yield Text(f"{report.verdict.upper()}: {verdict_words(report)}{title}", STYLES[report.verdict])
    for each in report.accepted:
        seen = ", ".join(each["seen"]) or "nowhere"
        yield Text(f"accepted: {each['name']}@{each['place']}, seen at {seen}")
    if report.comparisons:
        yield Text(f"{report.comparisons:,} comparisons in {report.seconds:.1f} s; {_limit(report)}")
        yield Text(f"compared: {coverage_words(report)}")
    for number, finding in enumerate(report.findings[:MOST_FINDINGS], 1):
        yield Text()
        yield Text(f"{number}. {heading(finding)}", "bold")
        yield Padding(Group(*(Text(line) for line in lines(finding))), (0, 0, 0, 3))
    if len(report.findings) > MOST_FINDINGS:
        yield Text(f"\nand {len(report.findings) - MOST_FINDINGS} more, in --json and --html")
    if report.islands:
        yield Text()
        yield Text("narrow numbers in a float64 run", "bold")
        yield Padding(Group(*(Text(f"- {_island(each)}") for each in report.islands)), (0, 0, 0, 2))
    if report.not_compared:
        yield Text()
        yield Text("not compared", "bold")
        yield Padding(Group(*(Text(f"- {line}") for line in report.not_compared)), (0, 0, 0, 2))


def _island(island: Mapping[str, Any]) -> str:
    return f"{island['side']}: {island['operation']} gives {island['dtype']} at {island['source'] or 'its library'}"


def _limit(report: CompareReport) -> str:
    return (
        f"limit: {SAFETY:g} times the noise of rounding; furthest within it: {report.worst:.2g}; "
        f"any relative error above {report.sensitivity:.1g} is seen"
    )


def coverage_words(report: CompareReport) -> str:
    """How much was compared, in words."""
    return ", ".join(f"{each.compared} of {each.all} {name}" for name, each in report.coverage.items() if each.all)


def heading(finding: Finding) -> str:
    """Where a finding is and of what kind, in one line."""
    return f"{finding.kind}: {finding.place}" if finding.kind != "crash" else "crash"


def lines(finding: Finding) -> list[str]:
    """What is said of a finding: which value, how far, what agrees, where in the code, why, what to change."""
    found = []
    size = _size(finding)
    modes = f" in {' and '.join(finding.modes)}" if finding.modes else ""
    step = f", update {finding.step + 1}" if finding.kind == "update" else ""
    if finding.value and finding.kind != "weights":
        found.append(f"{finding.value}{modes}{step}{': ' if size else ''}{size}")
    if finding.agrees:
        found.append(finding.agrees)
    code = [f"{side} at {place}" for side, place in finding.source.items() if place]
    if code:
        found.append(f"code: {', '.join(code)}")
    cause = finding.cause
    if cause.name != UNEXPLAINED or cause.evidence:
        found.append(f"cause: {cause.name}{': ' if cause.evidence else ''}{cause.evidence}")
    else:
        found.append(f"cause: {UNEXPLAINED}")
    if cause.remedy:
        found.append(f"to change: {cause.remedy}")
    return found


def _size(finding: Finding) -> str:
    if finding.times_noise is None:
        return ""
    relative = "" if finding.relative is None else f", {finding.relative:.2g} of its size"
    return f"{finding.times_noise:.2g} times the noise floor{relative}"
