"""Accepted differences: the reference is played with them; everything else is judged exactly; what is gone is told."""

from dataclasses import replace
from typing import Any

import pytest
from misbehaving import Minimal

from parity import CheckConfig, CheckReport, InputError, ModelSpec, check
from parity.check.screen import format_report
from parity.reference import NumpyBackend

CONFIG = CheckConfig(
    spec=ModelSpec(hidden_width=8),
    depths=(1,),
    batch_norm=(True,),
    sampled_steps=(0,),
    questions=("semantic",),
    accept=("biased_running_variance",),
)
BIASED = NumpyBackend().with_fault("biased_running_variance")


def judge(candidate: Any, **changes: Any) -> CheckReport:
    return check("numpy", candidate, config=replace(CONFIG, **changes))


def test_a_candidate_with_the_accepted_difference_agrees() -> None:
    report = judge(BIASED, questions=("semantic", "free_run"), free_run_updates=5)
    assert (report.verdict, report.accepted) == ("agree", ("biased_running_variance",))
    assert report.reference == "numpy with biased_running_variance"


def test_everything_else_is_judged_exactly_and_named() -> None:
    report = judge(BIASED.with_fault("weight_decay"))
    assert report.cause is not None
    assert (report.verdict, report.cause.name) == ("disagree", "weight_decay")
    assert report.other_causes == ()


@pytest.mark.parametrize("name", ["biased_running_variance", "fast_variance"])
def test_an_accepted_difference_that_is_gone_is_told(name: str) -> None:
    # An honest variance lies within the wide noise floor of the fast one: that must not pass in silence either.
    report = judge(NumpyBackend(), accept=(name,))
    assert report.cause is not None
    assert (report.verdict, report.failed_question) == ("disagree", "semantic")
    assert report.cause.name == "accepted_difference_gone"
    assert report.cause.evidence == f"the accepted difference {name} is no longer there; leave out --accept {name}"


def test_of_two_accepted_differences_the_one_that_is_gone_is_told() -> None:
    report = judge(BIASED, accept=("biased_running_variance", "missing_bias"))
    assert report.cause is not None
    assert "--accept missing_bias" in report.cause.evidence
    assert report.other_causes == ()


def test_a_difference_of_the_inputs_can_be_accepted_and_be_gone() -> None:
    accept = ("misaligned_labels",)
    assert judge(NumpyBackend().with_fault("misaligned_labels"), accept=accept).agrees
    report = judge(NumpyBackend(), accept=accept)
    assert report.cause is not None
    assert (report.failed_question, report.cause.name) == ("inputs", "accepted_difference_gone")
    unlike = judge(NumpyBackend().with_fault("test_statistics_leak").with_fault("biased_running_variance"))
    assert unlike.cause is not None
    assert unlike.cause.name == "test_statistics_leak"


@pytest.mark.parametrize(
    ("reference", "accept", "words"),
    [
        (Minimal(), "fast_variance", "--accept fast_variance .* Minimal cannot be given it; choose --reference numpy"),
        ("misbehaving:honest", "fast_variance", "misbehaving:honest cannot be given it; choose --reference numpy"),
        ("torch", "leaky_slope", "torch cannot be given it; choose --reference numpy"),
    ],
)
def test_a_reference_that_takes_no_difference_is_refused(reference: Any, accept: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check(reference, NumpyBackend(), config=replace(CONFIG, accept=(accept,)))


def test_a_difference_of_the_working_dtype_is_accepted_where_that_is_asked_for() -> None:
    with pytest.raises(InputError, match="accept it with --questions precision, got semantic, precision"):
        replace(CONFIG, questions=("semantic", "precision"), accept=("tf32_matmul",))
    assert replace(CONFIG, questions=("precision",), accept=("tf32_matmul",)).accept == ("tf32_matmul",)


def test_what_nothing_shows_is_not_said_to_be_gone() -> None:
    for candidate, changes in (
        (Minimal(), {"accept": ("biased_pixel_std",)}),  # presents no inputs
        (NumpyBackend(), {"accept": ("batch_of_one",), "questions": ("precision",), "dtypes": ("float64",)}),
    ):
        report = judge(candidate, **changes)
        assert report.cause is not None
        assert (report.verdict, report.cause.name) == ("disagree", "accepted_difference_unseen")
        assert "nothing that was asked shows whether" in report.cause.evidence


def test_the_screen_says_at_which_value_a_difference_is_accepted() -> None:
    report = judge(NumpyBackend().with_fault("weight_decay"), accept=("weight_decay",))
    assert report.agrees
    assert "accepted: weight_decay (coefficient 0.0001)" in format_report(report)
