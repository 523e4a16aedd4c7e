"""JUnit XML, as build servers read it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from parity.files import replace_file

# What XML 1.0 cannot hold, not even escaped.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class TestCase:
    """One question, and its answer.

    Args:
        group: what it belongs to, with dots.
        name: of the case.
        failure: what is wrong, in one line; None if nothing is.
        kind: of the failure.
    """

    __test__ = False  # pytest would take it for a test

    group: str
    name: str
    failure: str | None = None
    kind: str = ""


def write_junit(title: str, cases: Sequence[TestCase], text: str, seconds: float, path: Path) -> None:
    """Write test cases as JUnit XML.

    Args:
        title: of the suite.
        cases: in order.
        text: the whole report, which stands with each failure too.
        seconds: that it took.
        path: of the file.

    Raises:
        InputError: the place cannot be written.
    """
    text = NOT_XML.sub("?", text)
    failures = sum(case.failure is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", {"name": "bnparity", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": NOT_XML.sub("?", title), **counts})
    for case in cases:
        names = {"classname": NOT_XML.sub("?", case.group), "name": NOT_XML.sub("?", case.name)}
        element = ElementTree.SubElement(suite, "testcase", names)
        if case.failure is not None:
            failure = {"message": NOT_XML.sub("?", case.failure), "type": case.kind}
            ElementTree.SubElement(element, "failure", failure).text = text
    ElementTree.SubElement(suite, "system-out").text = text
    ElementTree.indent(root)
    replace_file(path, ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n")
