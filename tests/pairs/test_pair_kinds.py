"""`compare` on every kind of model: honest pairs agree, and a planted fault is found where it is, and nothing else."""

import pytest

from parity.pair.planted import OF_LOSSES, OF_STEPS, PLANTED, SPECIMENS
from parity.pair.self_test import Case, compare_specimen
from parity.verdict.verdict import Verdict

# A loss and an optimizer are tried with one model here, and with two by `bnparity compare --self-test`.
AGAIN = {*(("cnn", fault) for fault in OF_STEPS), *(("encoder", fault) for fault in OF_LOSSES)}
MUTUAL = [kind for kind, specimen in SPECIMENS.items() if specimen.is_mutual]
# What rounds more is its own measure as the reference: whether it is seen there depends on the processor.
EITHER_WAY = [case for case in PLANTED if case[0] in ("functions", "optimizers") and PLANTED[case].is_mutual]


@pytest.mark.parametrize("kind", SPECIMENS)
def test_an_honest_pair_agrees(kind: str) -> None:
    report = compare_specimen(Case(kind=kind))
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)
    assert report.worst < 16
    for what in ("modules", "parameters", "statistics"):
        covered = report.coverage[what]
        assert covered.compared == covered.all, (what, covered.rest)


@pytest.mark.parametrize("kind", MUTUAL)
def test_an_honest_pair_agrees_in_the_other_direction(kind: str) -> None:
    report = compare_specimen(Case(kind=kind, is_reversed=True))
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)


@pytest.mark.parametrize(("kind", "fault"), [case for case in PLANTED if case not in AGAIN])
def test_a_planted_fault_is_found_at_its_own_place_and_nothing_else_is(kind: str, fault: str) -> None:
    planted = PLANTED[kind, fault]
    report = compare_specimen(Case(kind=kind, fault=fault))
    assert report.verdict is Verdict.DISAGREE
    assert planted.is_all_of(report.findings), report.findings
    assert planted.is_cause_of(report.findings), report.findings


@pytest.mark.parametrize(("kind", "fault"), EITHER_WAY)
def test_a_cause_is_named_whichever_side_is_the_reference(kind: str, fault: str) -> None:
    planted = PLANTED[kind, fault]
    report = compare_specimen(Case(kind=kind, fault=fault, is_reversed=True))
    assert planted.is_all_of(report.findings, is_reversed=True), report.findings
    assert planted.is_cause_of(report.findings), report.findings
    assert all(each.cause.evidence and each.cause.remedy for each in report.findings)


@pytest.mark.parametrize("seed", [5, 8, 10])
def test_an_epsilon_is_named_though_a_unit_is_never_active(seed: int) -> None:
    report = compare_specimen(Case(kind="siblings", fault="norm_epsilon", seed=seed))
    assert [finding.cause.name for finding in report.findings] == ["norm_epsilon"] * 3
