"""One row: the comparison of a published pair, and what of its report goes into the table."""

import importlib.metadata
import re
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from published.entry import Entry

INSTALLED = re.compile(r"\S*?site-packages/")


def row(entry: Entry) -> dict[str, Any]:
    """Compare a pair and return its row."""
    import parity

    started = time.monotonic()
    try:
        reference, candidate = entry.sides()
    except Exception as error:  # a published class may raise when it is made
        return crashed(error, entry.package)
    options = {"questions": ("forced", "free", "statistics"), **entry.options}
    report = parity.compare(reference, candidate, inputs=entry.inputs, **options)
    return {
        "verdict": str(report.verdict),
        "comparisons": report.comparisons,
        "worst": round(report.worst, 2),
        "parameters": list(_counts(report.coverage.get("parameters"))),
        "findings": gathered([finding(each) for each in report.findings]),
        "not_compared": [INSTALLED.sub("", each) for each in report.not_compared],
        "seconds": round(time.monotonic() - started, 1),
    }


def crashed(error: Exception, package: str) -> dict[str, Any]:
    """Return the row of a package that raises when its model is made.

    Raises:
        Exception: it is not the package that raised.
    """
    frames = [(f.f_code.co_filename, number) for f, number in traceback.walk_tb(error.__traceback__)]
    own = [f"{local(file)}:{number}" for file, number in frames if local(file).startswith(f"{package}/")]
    if not own:
        raise error
    found = {
        "kind": "crash",
        "place": "the model, when it is made",
        "value": "",
        "modes": [],
        "times_noise": None,
        "relative": None,
        "cause": "unexplained",
        "evidence": f"raised {type(error).__name__}: {error}",
        "source": {"candidate": own[-1]},
        "places": 1,
    }
    counts = {"comparisons": 0, "worst": 0.0, "parameters": [0, 0], "seconds": 0.0}
    return {"verdict": "disagree", "findings": [found], "not_compared": [], **counts}


def gathered(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gather what has the same cause at the same line: the first of them, with the number of places."""
    found: dict[Any, dict[str, Any]] = {}
    for each in findings:
        key = each["kind"], each["cause"], each["source"].get("candidate")
        key = key if each["cause"] != "unexplained" else (*key, len(found))
        found.setdefault(key, {**each, "places": 0})["places"] += 1
    return list(found.values())


def _counts(covered: Any) -> tuple[int, int]:
    return (0, 0) if covered is None else (covered.compared, covered.all)


def finding(found: Any) -> dict[str, Any]:
    """Return what the table needs of a finding; paths begin at the package, not at this machine's root."""
    return {
        "kind": str(found.kind),
        "place": found.place,
        "value": found.value,
        "modes": list(found.modes),
        "times_noise": _rounded(found.times_noise),
        "relative": _rounded(found.relative),
        "cause": found.cause.name,
        "evidence": local(found.cause.evidence),
        "source": {side: local(where) for side, where in found.source.items() if where},
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None or number != number or abs(number) == float("inf") else float(f"{number:.2g}")


def local(words: str) -> str:
    """Return words in which a file's path begins at its package."""
    words = INSTALLED.sub("", words)
    return words.replace(f"{Path(sys.prefix)}/", "").replace(f"{Path.cwd()}/", "")


def version(package: str) -> str:
    """Return a package's version."""
    return importlib.metadata.version(package)
