"""`bnparity compare --self-test`: what it runs, when it fails, and what it refuses."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from parity.backend.convention import FLOAT32_ISLAND
from parity.cli import main
from parity.pair.explain import acceptable
from parity.pair.planted import PLANTED, SPECIMENS
from parity.pair.self_test import Case, Outcome, PairSelfTest, cases_of, compare_specimen, judged
from parity.verdict.verdict import UNEXPLAINED

HONEST = Outcome(case=Case(kind="plain"), verdict="agree", is_placed=True, is_named=True, worst=0.5, seconds=2.0)
FOUND = Outcome(
    case=Case(kind="plain", fault="activation"),
    verdict="disagree",
    found=("forward: between a and b",),
    causes=("other_activation",),
    is_placed=True,
    is_named=True,
)


def said(*outcomes: Outcome) -> PairSelfTest:
    return PairSelfTest(outcomes=outcomes, versions={})


def test_it_compares_an_honest_pair_and_a_faulty_one_in_processes_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    assert main(["compare", "--self-test", "--kinds", "partly_float32", "--seeds", "2", "--json", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "self-test PASSED",
        "  1 of 1 planted faults found where they are and nothing else, 1 of them named",
        "  0 of 2 honest comparisons flagged",
    ]
    found = json.loads(out.read_text())
    assert (found["passed"], found["honest"], found["named"]) == (True, 2, 1)
    honest, faulty = found["rows"]
    assert (honest["fault"], honest["comparisons"], honest["flagged"]) == (None, 2, 0)
    assert (faulty["fault"], faulty["cause"], faulty["placed"]) == ("norm_epsilon", "norm_epsilon", True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(HONEST, verdict="disagree", found=("forward: a",)), "plain, honest, seed 0: disagree, forward: a"),
        (replace(HONEST, verdict="incomplete"), "plain, honest, seed 0: incomplete, nothing found"),
        (replace(FOUND, is_placed=False), "plain, activation: disagree, forward: between a and b (other_activation)"),
        (replace(FOUND, verdict="agree", found=(), causes=(), is_placed=False, is_named=False), "nothing found"),
        (replace(FOUND, is_named=False), "(other_activation)"),  # named, and wrongly
        (Outcome(case=FOUND.case, verdict="raised", found=("it ended",)), "plain, activation: raised, it ended"),
    ],
)
def test_one_that_is_not_right_fails_it_and_is_told(wrong: Outcome, words: str) -> None:
    assert said(HONEST, FOUND).passed
    report = said(HONEST, *[FOUND] * 40, wrong)
    assert not report.passed
    assert report.words().splitlines()[0].startswith("self-test FAILED")
    assert words in report.words()


def test_some_may_be_unexplained_but_not_more_than_one_in_twenty() -> None:
    unexplained = replace(FOUND, causes=(UNEXPLAINED,), is_named=False)
    assert said(*[FOUND] * 19, unexplained).passed
    assert not said(*[FOUND] * 18, unexplained).passed


def test_a_fault_that_no_cause_is_known_of_is_found_and_not_counted_as_named() -> None:
    case = Case(kind="lstm", fault="gate")
    outcome = judged(case, compare_specimen(case))
    assert (outcome.is_placed, outcome.is_named, outcome.is_misnamed) == (True, False, False)
    assert outcome.causes == (UNEXPLAINED,)


def test_every_kind_has_its_honest_pairs_and_all_of_its_faults() -> None:
    cases = [case for kind in SPECIMENS for case in cases_of(kind, seeds=3)]
    assert len(set(cases)) == len(cases)
    assert {(case.kind, case.fault) for case in cases if case.fault} == PLANTED.keys()
    for kind, specimen in SPECIMENS.items():
        honest = [case for case in cases if case.kind == kind and not case.fault]
        assert len(honest) == 3 + specimen.is_mutual


def test_every_cause_is_planted_in_two_kinds_of_model() -> None:
    kinds: dict[str, set[str]] = defaultdict(set)
    for (kind, _), planted in PLANTED.items():
        kinds[planted.cause].add(kind)
    # What float32 makes is no fault; it has its tests with the precisions.
    assert {name for name in acceptable() if len(kinds[name]) < 2} == {FLOAT32_ISLAND}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--self-test", "--kinds", "resnet50"], "no kind of model is named 'resnet50'"),
        (["--self-test", "--seeds", "0"], "seeds must be at least 1, got 0"),
        (["pair.py", "--self-test"], "--self-test does not go with PAIR"),
        (["--self-test", "--html", "page.html"], "--self-test does not go with --html"),
        (["pair.py", "--kinds", "cnn"], "--kinds is of --self-test"),
        ([], "no pair is named"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
