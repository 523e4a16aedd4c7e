"""`parity-baseline.toml` as someone may leave it: entries that hold what it says, or one line; and what is written."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from fake_compare_report import disagreeing
from hostile_cases import ATTACKS, damaged, hostile, refusal, texts
from hypothesis import strategies as st

from parity.pair.annotations import format_github
from parity.pair.baseline import KEYS, entries_of, read_baseline, write_baseline
from parity.pair.explain import Accepted
from parity.pair.findings import FindingKind
from parity.pair.records import Finding, PairCause

GOOD = b"""# why
[[accept]]
cause = "gelu_form"
place = "a.*"
reason = '''of the
paper'''
pair = "pairs/*.py"
[[accept]]
cause = "unexplained"
place = "between a and b"
at_most = 1e-3
reason = "a table"
"""
values = st.one_of(
    texts.map(lambda text: text.encode("utf-8", "replace").decode()), st.floats(), st.integers(), st.booleans(),
    st.sampled_from(("gelu_form", "unexplained", "*", "a")), st.lists(st.integers(), max_size=2),
)  # fmt: skip
entries = st.lists(st.dictionaries(st.sampled_from((*KEYS, "why")), values, max_size=6), max_size=3)
findings = st.builds(
    Finding, kind=st.sampled_from(FindingKind), reference=texts, candidate=texts, value=texts, agrees=texts,
    between=st.one_of(st.none(), st.tuples(texts, texts)), candidate_between=st.tuples(texts, texts),
    largest=st.one_of(st.none(), st.floats()),
    cause=st.builds(PairCause, name=st.one_of(texts, st.sampled_from(("unexplained", "gelu_form"))), evidence=texts),
    source=st.fixed_dictionaries({"reference": texts, "candidate": texts.map(lambda text: f"{text}:3")}),
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("baseline") / "parity-baseline.toml"


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found: list[tuple[Accepted, ...]] = []
    message = refusal(lambda: found.append(read_baseline(path)))
    if not found:
        assert str(path) in message
        return
    given = tomllib.loads(content.decode("utf-8-sig")).get("accept", [])
    asked = [each for each in given if "pair" not in each]
    assert [(each.name, each.reason) for each in found[0]] == [(each["cause"], each["reason"]) for each in asked]
    assert all(each.reason.strip() for each in found[0])
    assert all((each.at_most is not None) == (each.name == "unexplained") for each in found[0])


@hostile(sample=150, many=4000, content=st.one_of(damaged(GOOD), st.binary(max_size=60), st.sampled_from(
    [attack.encode("utf-8", "surrogatepass") for attack in ATTACKS])))  # fmt: skip
def test_a_damaged_baseline(path: Path, content: bytes) -> None:
    check(path, content)


@hostile(sample=150, many=4000, entries=entries)
def test_entries_of_any_kind(path: Path, entries: list[dict[str, Any]]) -> None:
    write_baseline(entries, path)
    check(path, path.read_bytes())


@hostile(sample=100, many=2000, found=st.lists(findings, max_size=3))
def test_what_is_written_is_read_back_and_annotated_on_a_line_each(path: Path, found: list[Finding]) -> None:
    entries, left = entries_of(found, "pairs/a.py", path)
    assert len(entries) + left <= len(found)
    write_baseline(({**each, "reason": "meant"} for each in entries), path)
    assert not refusal(read_baseline, path)
    assert len(tomllib.loads(path.read_text()).get("accept", [])) == len(entries)
    lines = format_github(disagreeing(findings=tuple(found), accepted=()), "pairs/a.py").split("\n")
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert [line.startswith("::error ") for line in commands] == [True] * len(found)
