"""`compare` on every kind of model: honest pairs agree, and a planted fault is found where it is, and nothing else."""

import pytest
from planted import KINDS, PLANTED, compare

from parity.verdict.verdict import Verdict


@pytest.mark.parametrize("name", KINDS)
def test_an_honest_pair_agrees(name: str) -> None:
    report = compare(name)
    assert report.verdict is Verdict.AGREE, report.findings
    assert report.worst < 16
    for what in ("modules", "parameters", "statistics"):
        covered = report.coverage[what]
        assert covered.compared == covered.all, (what, covered.rest)


# Those whose inputs have one layout in both.
@pytest.mark.parametrize("name", ["siblings", "encoder", "decoder", "lstm", "plain", "scanned", "several"])
def test_an_honest_pair_agrees_in_the_other_direction(name: str) -> None:
    report = compare(name, is_reversed=True)
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)


@pytest.mark.parametrize(("name", "fault"), PLANTED)
def test_a_planted_fault_is_found_at_its_own_place_and_nothing_else_is(name: str, fault: str) -> None:
    planted = PLANTED[name, fault]
    report = compare(name, fault, questions=("forced",))
    assert report.verdict is Verdict.DISAGREE
    assert planted.is_all_of(report.findings), report.findings
    assert {finding.cause.name for finding in report.findings} == {planted.cause}


@pytest.mark.parametrize("seed", [5, 8, 10])
def test_an_epsilon_is_named_though_a_unit_is_never_active(seed: int) -> None:
    report = compare("siblings", "norm_epsilon", questions=("forced",), seed=seed)
    assert [finding.cause.name for finding in report.findings] == ["norm_epsilon"] * 3
