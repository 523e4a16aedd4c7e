"""The report of a comparison for other programs: JSON and JUnit XML. What people read is in `screen`."""

from pathlib import Path

from parity import junit
from parity.errors import one_line
from parity.files import write_object
from parity.junit import TestCase
from parity.pair.records import CompareReport
from parity.pair.screen import format_report, heading, lines


def write_json(report: CompareReport, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        InputError: the place cannot be written.
    """
    write_object(report.as_json(), path)


def write_junit(report: CompareReport, path: Path) -> None:
    """Write the report as JUnit XML: a test case for each finding, or one if there is none.

    Raises:
        InputError: the place cannot be written.
    """
    title = one_line(f"bnparity compare: {report.title or 'a pair of models'}")
    cases = [
        TestCase(
            group=f"bnparity.compare.{finding.kind}",
            name=one_line(finding.place),
            failure=f"{heading(finding)}: {'; '.join(lines(finding))}",
            kind=str(report.verdict),
        )
        for finding in report.findings
    ]
    if not cases:
        failure = None if report.agrees else one_line("; ".join(report.not_compared))
        cases = [TestCase(group="bnparity.compare", name=title, failure=failure, kind=str(report.verdict))]
    junit.write_junit(title, cases, format_report(report), report.seconds, path)
