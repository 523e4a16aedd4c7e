"""The report of a comparison as one HTML file that needs nothing beside it."""

from pathlib import Path

from parity.files import replace_file
from parity.pair.records import CompareReport, Finding, Mark
from parity.pair.screen import MODES, accepted_words, coverage_words, heading, island_words, told, verdict_words
from parity.report.compare_depth import along_depth
from parity.report.compare_tree import grow
from parity.report.markup import render, words
from parity.verdict.compare import SAFETY
from parity.verdict.verdict import UNEXPLAINED

SIGNS = {Mark.AGREES: "✔", Mark.DIFFERS: "✘", Mark.WITHIN: "·", Mark.NOT_COMPARED: "?"}


def write_compare_report(report: CompareReport, path: Path) -> None:
    """Write the report of a comparison as one HTML file; the file is either the old one or the whole new one.

    Args:
        report: of the comparison.
        path: of the file.

    Raises:
        InputError: the place cannot be written.
    """
    replace_file(path, render_compare_page(report).encode())


def render_compare_page(report: CompareReport) -> str:
    """The HTML of a report, with its figure inside it."""
    tree = grow(report)
    return render(
        "compare.html.j2",
        report=report,
        verdict=str(report.verdict).upper(),
        words=verdict_words(report),
        safety=SAFETY,
        coverage=coverage_words(report),
        accepted=[accepted_words(each, most=len(each["seen"])) for each in report.accepted],
        findings=[
            {"title": heading(finding), "cause": _cause(finding), "said": told(finding), "anchor": anchor}
            for finding, anchor in zip(report.findings, tree.anchors, strict=True)
        ],
        chart=along_depth(report),
        tree=tree,
        signs=SIGNS,
        islands=list(map(island_words, report.islands)),
        weights=[(path, each.candidate, each.transform, each.proof) for path, each in report.weights.items()],
        configuration=_configuration(report),
    )


def _cause(finding: Finding) -> str:
    return "" if finding.cause.name == UNEXPLAINED else finding.cause.name


def _configuration(report: CompareReport) -> list[tuple[str, str]]:
    free = "; ".join(f"{times:.2g} noise floors in {MODES.get(mode, mode)}" for mode, times in report.free.items())
    if not report.comparisons:
        return []
    return [
        ("limit", f"{SAFETY:g} noise floors"),
        ("furthest within it", f"{report.worst:.2g} noise floors"),
        ("smallest relative error that is seen everywhere", f"{report.sensitivity:.1g}"),
        ("outputs apart, with nothing replaced", free or words(None)),
        ("tensors drawn anew, since all their elements were alike", ", ".join(report.drawn) or "none"),
    ]
