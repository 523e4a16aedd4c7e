"""`parity-baseline.toml`: what it accepts for which pair, what it refuses, and what is written for a run's findings."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fake_compare_report import findings

from parity.errors import InputError
from parity.pair.baseline import entries_of, read_baseline, write_baseline
from parity.pair.explain import Accepted
from parity.pair.findings import FindingKind
from parity.pair.records import Finding, PairCause
from parity.verdict.verdict import UNEXPLAINED

ENTRY = '[[accept]]\ncause = "gelu_form"\nreason = "meant"\n'
UNKNOWN = '[[accept]]\ncause = "unexplained"\nreason = "meant"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parity-baseline.toml"


def test_entries_are_read_with_their_places_reasons_and_sizes(path: Path) -> None:
    path.write_text(
        f'\ufeff# why\n{ENTRY}place = "a.*"\n\n{ENTRY}\n{UNKNOWN}place = "between a and b"\nat_most = 1e-3\n'
    )
    assert read_baseline(path) == (
        Accepted("gelu_form", "a.*", "meant"),
        Accepted("gelu_form", "*", "meant"),
        Accepted("unexplained", "between a and b", "meant", 1e-3),
    )


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "accept = []\n"])
def test_a_file_without_entries_accepts_nothing(path: Path, text: str) -> None:
    path.write_text(text)
    assert read_baseline(path) == ()


@pytest.mark.parametrize(
    ("pair", "count"),
    [("pairs/cnn.py", 3), ("a\0.py", 1), ("./pairs/../pairs/cnn.py", 3), ("pairs/gpt.py", 2), ("cnn.py", 1), (None, 1)],
)
def test_an_entry_for_certain_pairs_is_for_them_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, pair: str | None, count: int
) -> None:
    path.write_text(f'{ENTRY}\n{ENTRY}pair = "pairs/cnn.py"\n{ENTRY}pair = "pairs/*"\n')
    monkeypatch.chdir(path.parent)
    assert len(read_baseline(path.name, pair)) == count


def test_the_pattern_is_of_the_path_beside_the_file_wherever_the_command_runs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(f'{ENTRY}pair = "pairs/cnn.py"\n')
    (path.parent / "elsewhere").mkdir()
    monkeypatch.chdir(path.parent / "elsewhere")
    assert len(read_baseline("../parity-baseline.toml", "../pairs/cnn.py")) == 1
    assert not read_baseline("../parity-baseline.toml", "pairs/cnn.py")


def test_a_pair_that_is_a_module_goes_by_its_name(path: Path) -> None:
    path.write_text(f'{ENTRY}pair = "tests.pairs.*"\n')
    assert len(read_baseline(path, "tests.pairs.cnn")) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n\nx = = 1\n", "FILE:3: this is not TOML: Invalid value; an entry is [[accept]] and lines below it"),
        ('"' * 3 + "[[accept]]", "FILE:1: this is not TOML"),
        (f"x = {'[' * 100000}", "FILE: this is not TOML: it is nested too deeply"),
        (f"x = {'9' * 5000}", "FILE: this is not TOML: Exceeds the limit"),
        ("\r", "FILE:1: this is not TOML: Invalid statement"),
        ("[[acept]]\n", "FILE: 'acept' is no key of a baseline; it has [[accept]] tables alone"),
        ("accept = 3\n", "FILE: accept must be [[accept]] tables, got 3"),
        ("accept = [3]\n", "FILE: accept must be [[accept]] tables, got [3]"),
        (f"{ENTRY}\n[[accept]]\nreason = 'x'\n", "FILE:5: an entry needs a cause, as a finding names it"),
        ("# x\n[[accept]]\ncause = 'gelu_form'\n", "FILE:2: an entry needs a reason: why is this difference meant?"),
        ("[[accept]]\ncause = 'gelu_form'\nreason = ' '\n", "FILE:1: an entry needs a reason"),
        ("accept = [{cause = 'gelu_form'}]\n", "FILE, entry 1: an entry needs a reason"),
        (f"{ENTRY}[[accept]]\ncause = 'gelu'\nreason = 'x'\n", "FILE:4: no difference is named 'gelu'; choose one of"),
        (f"{ENTRY}why = 'x'\n", "FILE:1: 'why' is no key of an entry; it may have cause, place, reason, pair, at_most"),
        (f"{ENTRY}place = 3\n", "FILE:1: place must be a text, got 3"),
        (f"{ENTRY}at_most = 1e-3\n", 'FILE:1: at_most goes with cause = "unexplained" alone'),
        (f"{UNKNOWN}at_most = 1e-3\n", "FILE:1: what is unexplained is accepted at one place; copy that of"),
        (f"{UNKNOWN}place = 'a*'\nat_most = 1e-3\n", "FILE:1: what is unexplained is accepted at one place"),
        (f"{UNKNOWN}place = 'a'\n", "FILE:1: what is unexplained needs at_most, the largest part of its size"),
        (f"{UNKNOWN}place = 'a'\nat_most = true\n", "between 0 and 1; got True"),
        (f"{UNKNOWN}place = 'a'\nat_most = nan\n", "between 0 and 1; got nan"),
        (f"{UNKNOWN}place = 'a'\nat_most = 0\n", "between 0 and 1; got 0"),
        (f"{UNKNOWN}place = 'a'\nat_most = 1.0\n", "between 0 and 1; got 1.0"),
        ("x = 'é'".encode("latin-1"), "cannot be read: 'utf-8' codec can't decode"),
    ],
)  # fmt: skip
def test_what_is_no_baseline_is_one_line_with_its_place(path: Path, text: str | bytes, words: str) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError) as error:
        read_baseline(path, "another.py")
    assert words.replace("FILE", str(path)) in str(error.value)


def test_an_entry_for_another_pair_is_checked_too(path: Path) -> None:
    path.write_text("[[accept]]\ncause = 'gelu_form'\nreason = ''\npair = 'a.py'\n")
    with pytest.raises(InputError, match="needs a reason"):
        read_baseline(path, "b.py")


@pytest.mark.parametrize("given", ["no/such/file.toml", ".", 3])
def test_a_file_that_cannot_be_read_is_one_line(given: Any) -> None:
    with pytest.raises(InputError, match=r"give a TOML file|must be the path of a TOML file, got 3"):
        read_baseline(given)


# what is written

LEFT_OUT = findings()[0]  # a tensor without a partner
NAMED = findings()[1]


def unexplained(**given: Any) -> Finding:
    return Finding(**{"kind": FindingKind.GRADIENT, "reference": "head", "largest": 0.000123, **given})


def named(name: str, kind: FindingKind, place: str) -> Finding:
    return Finding(kind=kind, reference=place, cause=PairCause(name=name))


@pytest.mark.parametrize(
    ("finding", "entry"),
    [
        (NAMED, {"cause": "gelu_form", "place": "blocks.1.b"}),
        (named("biased_running_variance", FindingKind.STATISTICS, "a[0]"), {"place": "a[[]0]"}),
        (named("norm_epsilon", FindingKind.FORWARD, ""), {"place": ""}),
        (named("weight_decay", FindingKind.UPDATE, ""), {"place": "*"}),
        (named("weight_decay", FindingKind.UPDATE, "head"), {"place": "head"}),
        (unexplained(), {"cause": "unexplained", "place": "head", "at_most": 0.00013}),
        (unexplained(reference="", between=("a", "")), {"place": "between a and the output of the model"}),
        (unexplained(reference=""), {"place": "the model"}),
        (unexplained(largest=0.5), {"at_most": 0.5}),
        (unexplained(largest=0.981), {"at_most": 0.99}),
    ],
)  # fmt: skip
def test_an_entry_accepts_its_finding_once_it_has_a_reason(path: Path, finding: Finding, entry: dict[str, Any]) -> None:
    entries, left = entries_of([finding, finding, LEFT_OUT], "a.py", path)
    assert left == 1
    (found,) = entries
    assert entry.items() <= found.items()
    assert (found["reason"], found["cause"]) == ("", finding.cause.name)
    write_baseline(entries, path)
    with pytest.raises(InputError, match=r":3: an entry needs a reason"):
        read_baseline(path, str(path.parent / "a.py"))
    write_baseline([{**found, "pair": "a.py", "reason": "meant"}], path)
    (accepted,) = read_baseline(path, str(path.parent / "a.py"))
    assert (accepted.name, accepted.place) == (found["cause"], found["place"])


@pytest.mark.parametrize(
    "finding",
    [
        LEFT_OUT,
        Finding(kind=FindingKind.CRASH),
        named("accepted_difference_gone", FindingKind.FORWARD, ""),
        unexplained(kind=FindingKind.STATISTICS),
        unexplained(kind=FindingKind.UPDATE),
        unexplained(largest=None),
        unexplained(largest=0.995),
        unexplained(largest=float("inf")),
        unexplained(largest=float("nan")),
    ],
)
def test_what_no_entry_can_accept_is_counted(path: Path, finding: Finding) -> None:
    assert finding.cause.name != UNEXPLAINED or finding.kind is not FindingKind.FORWARD
    assert entries_of([finding], "a.py", path) == ([], 1)


def test_any_text_is_written_so_that_it_is_read_back(path: Path) -> None:
    text = "\"\\\n\r\t\x00\x07\x7f\x1b\u202e😀[[accept]]'''"
    write_baseline([{"cause": text, "at_most": 1e-05}], path)
    assert tomllib.loads(path.read_text()) == {"accept": [{"cause": text, "at_most": 1e-05}]}
    write_baseline([{"pair": "a\udc80.py"}], path)
    assert tomllib.loads(path.read_text())["accept"] == [{"pair": "a?.py"}]
    assert json.dumps(text) not in path.read_text()
