"""The report of a comparison as one HTML file that needs nothing beside it."""

from pathlib import Path

from parity.errors import one_line
from parity.files import replace_file
from parity.pair.records import CompareReport, Mark
from parity.pair.screen import (
    MODES,
    accepted_words,
    cause_words,
    coverage_words,
    heading,
    island_words,
    missed_words,
    rest_words,
    side_words,
    told,
    verdict_words,
)
from parity.report.compare_depth import NARROW, WIDE, along_depth
from parity.report.compare_tree import grow
from parity.report.markup import render, words
from parity.verdict.compare import SAFETY

SIGNS = {
    Mark.AGREES: ("✔", "agrees"),
    Mark.DIFFERS: ("✘", "differs"),
    Mark.WITHIN: ("·", "no partner"),
    Mark.NOT_COMPARED: ("?", "not compared"),
}


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
    charts = [
        (kind, chart) for kind, width in (("wide", WIDE), ("narrow", NARROW)) if (chart := along_depth(report, width))
    ]
    return render(
        "compare.html.j2",
        report=report,
        verdict=str(report.verdict).upper(),
        words=verdict_words(report),
        safety=SAFETY,
        sides=side_words(report),
        coverage=coverage_words(report),
        rest=rest_words(report),
        missed=missed_words(report),
        accepted=[accepted_words(each, most=len(each["seen"])) for each in report.accepted],
        findings=[
            {"title": heading(finding), "cause": cause_words(finding), "said": told(finding), "anchor": anchor}
            for finding, anchor in zip(report.findings, tree.anchors, strict=True)
        ],
        charts=charts,
        tree=tree,
        signs=SIGNS,
        islands=list(map(island_words, report.islands)),
        weights=[
            (one_line(path), one_line(each.candidate), each.transform, each.proof)
            for path, each in report.weights.items()
        ],
        drawn=list(map(one_line, report.drawn)),
        configuration=_configuration(report),
    )


def _configuration(report: CompareReport) -> list[tuple[str, str]]:
    free = "; ".join(f"{times:.2g} noise floors in {MODES.get(mode, mode)}" for mode, times in report.free.items())
    if not report.comparisons:
        return []
    return [
        ("limit", f"{SAFETY:g} noise floors"),
        ("the furthest value that agrees is off by", f"{report.worst:.2g} noise floors"),
        ("any relative error is seen that is above", f"{report.sensitivity:.1g}"),
        ("the models from end to end, with no values given, are off by", free or words(None)),
    ]
