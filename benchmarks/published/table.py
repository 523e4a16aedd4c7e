"""The documentation's table of published pairs: a line for each report of what differs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FINDINGS = Path(__file__).parents[2] / "docs" / "findings"
HEADINGS = "| port | what differs | where | cause | seen with |", "|---|---|---|---|---|"


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how many pairs there are, and how many of each verdict."""
    verdicts = [row["verdict"] for row in rows]
    architectures = len({row["architecture"] for row in rows})
    furthest = max((row["worst"] for row in rows if row["verdict"] == "agree"), default=0.0)
    return (
        f"{len(rows)} pairs of {architectures} architectures: {verdicts.count('agree')} agree, the furthest value "
        f"{furthest:g} noise floors away; {verdicts.count('incomplete')} are incomplete; "
        f"{verdicts.count('disagree')} disagree"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of the table, in the order of the rows."""
    reports = dict.fromkeys(name for row in rows for name in row["known"])
    return [*HEADINGS, *(line(name, [row for row in rows if name in row["known"]]) for name in reports)]


def weaknesses(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the comparison itself gets wrong, a line for each row."""
    return [f"- {row['name']}: {row['weakness']}" for row in rows if row["weakness"]]


def line(report: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the line of a report, by the rows that show what it says."""
    text = (FINDINGS / f"{report}.md").read_text(encoding="utf-8").splitlines()
    title, where = text[0].removeprefix("# "), text[2].partition(" (")[0]
    port, _, what = title.partition(": ")
    causes = dict.fromkeys(found["cause"] for row in rows for found in row["findings"])
    kinds = {found["kind"] for row in rows for found in row["findings"]}
    named = ", ".join(f"`{each}`" for each in causes if each not in ("unexplained", "accepted_difference_gone"))
    named = named or ("it raises" if kinds == {"crash"} else "`unexplained`")
    first = rows[0]
    return (
        f"| {port} | [{what}](findings/{report}.md) | {where} | {named} | {first['configuration']}; {first['inputs']} |"
    )
