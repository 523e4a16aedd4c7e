"""The table of published pairs is what was measured, and each report on what differs stands in it."""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from published.table import FINDINGS, summary, table, weaknesses  # noqa: E402

SECTION = (ROOT / "docs" / "published_pairs.md").read_text(encoding="utf-8")
FOUND = json.loads((ROOT / "benchmarks" / "published_pairs.json").read_text(encoding="utf-8"))
ROWS = FOUND["rows"]


def test_its_table_and_counts_are_those_of_the_benchmark() -> None:
    assert "\n".join(table(ROWS)) in SECTION
    assert all(each in SECTION for each in weaknesses(ROWS))
    assert summary(ROWS) in " ".join(SECTION.split())
    assert len({row["architecture"] for row in ROWS}) >= 25
    for package in ("transformers", "torch2jax", "torchax", "equinox"):
        assert f"{package} {FOUND['environment'][package]}" in SECTION


def test_every_row_has_a_verdict_and_every_disagreement_its_report() -> None:
    assert all(row["is_known"] for row in ROWS), [row["name"] for row in ROWS if not row["is_known"]]
    reports = {name for row in ROWS for name in row["known"]}
    assert reports == {each.stem for each in FINDINGS.glob("*.md")}


def test_a_report_says_where_in_its_package_and_how_to_see_and_to_change_it() -> None:
    for each in sorted(FINDINGS.glob("*.md")):
        text = each.read_text(encoding="utf-8")
        assert re.match(r"# [^:\n]+: [^\n]+\n\n`\w+/[\w/]+\.py:\d+`", text), each.name
        assert "\nTo see it: " in text, each.name
        assert "\nTo change: " in text, each.name


def test_no_row_tells_a_path_of_a_machine() -> None:
    assert not re.findall(r"(?<![\w.)}\]])/[a-z]+/[\w/.]+", json.dumps(FOUND))
