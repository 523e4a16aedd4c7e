"""What a comparison prints: places, values, what to try, and nothing that a terminal obeys."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from fake_compare_report import disagreeing, findings
from rich.console import Console

from parity.pair.findings import LOSS, FindingKind
from parity.pair.output import write_junit
from parity.pair.records import Covered, Finding, PairCause, stretch_words
from parity.pair.report import crashed
from parity.pair.screen import format_report, heading, print_report, told
from parity.verdict.verdict import Verdict

WEIGHTS, STRETCH, BACKWARD, UPDATE = findings()


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (("a", "b"), "between a and b"),
        (("a", "a.b"), "between the input of a and a.b"),
        (("a.b", "a"), "between a.b and the output of a"),
        (("", "a"), "between the input of the model and a"),
        (("a", ""), "between a and the output of the model"),
        (("", LOSS), "between the output of the model and the loss"),
        (("a", "ab"), "between a and ab"),
    ],
)
def test_a_stretch_says_at_which_end_of_a_module_it_is(between: tuple[str, str], words: str) -> None:
    assert stretch_words(*between) == words


def test_a_finding_says_which_value_how_far_what_agrees_where_and_why() -> None:
    assert told(STRETCH) == [
        ("in the candidate", "between block_1.a and block_1.b"),
        ("code", "near net.py:3 in the reference and port.py:4 in the candidate"),
        ("value", "blocks.1.b input in training and evaluation"),
        ("off by", "a relative error of 0.00019, 3.8e+11 times the noise floor (limit 16)"),
        ("around it", "given the same values, what is computed from them differs"),
        ("cause", "gelu_form: GELU is its tanh form"),
        ("to change", "approximate=False"),
    ]


def test_a_weight_is_named() -> None:
    assert told(WEIGHTS)[0] == ("value", "blocks.0.b.bias of the reference")
    assert heading(replace(WEIGHTS, candidate="")) == "weights: blocks.0.b of the reference"  # and not of the model
    words = "second.kernel is second.weight as it is"
    said = replace(WEIGHTS, value=words, cause=PairCause(name="kernel_axes", evidence=words))
    assert told(said) == [("cause", f"kernel_axes: {words}")]


def test_a_module_that_only_the_candidate_has_is_not_called_the_model() -> None:
    assert replace(WEIGHTS, reference="", candidate="extra").place == "extra of the candidate"


def test_a_cause_that_is_not_known_comes_with_where_to_look() -> None:
    backward = dict(told(BACKWARD))
    assert backward["value"] == "the gradient of head input x in training"
    assert backward["code"] == "called at net.py:9 in the reference"
    assert "a gradient that is stopped" in backward["to try"]
    update = dict(told(UPDATE))
    assert update["value"] == "the change of every parameter, at update 2"
    assert "weight decay" in update["to try"]
    for kind in FindingKind:
        if kind is not FindingKind.CRASH:
            assert dict(told(Finding(kind=kind)))["to try"]
    assert "to try" not in dict(told(STRETCH))
    assert "code between" in dict(told(replace(STRETCH, cause=PairCause())))["to try"]


@pytest.mark.parametrize("times", [float("inf"), float("nan")])
def test_what_has_no_size_is_said_in_words(times: float) -> None:
    said = dict(told(replace(STRETCH, times_noise=times, relative=times)))["off by"]
    assert "not finite (NaN or infinite) on one side alone" in said
    said = dict(told(replace(STRETCH, times_noise=times)))["off by"]
    assert said == "a relative error of 0.00019; rounding cannot move this value at all"


def test_frameworks_are_named_as_their_makers_write_them() -> None:
    sides = {"reference": "one", "candidate": "another"}
    text = format_report(disagreeing(environment=sides, titles={"one": "One"}))
    assert "reference: One, candidate: another; " in text


def test_the_first_lines_say_which_framework_is_which_and_what_became_of_the_rest() -> None:
    lines = format_report(disagreeing(environment={"reference": "one", "candidate": "another"})).splitlines()
    assert lines[2] == "reference: one, candidate: another; 1,234 comparisons in 1.0 s"
    whole = {"modules": Covered(compared=9, all=9), "boundaries": Covered(compared=5, all=8)}
    assert "The other 3 values have no partner in the candidate" in " ".join(
        format_report(disagreeing(coverage=whole)).split()
    )
    assert "The other" not in format_report(disagreeing())  # a module was not compared either: that is told below
    assert "c input in training, where" in format_report(disagreeing(not_compared=("c input[0][0] in train, where",)))


def test_long_lists_are_cut_and_the_model_has_a_name() -> None:
    text = format_report(disagreeing())
    assert "seen at the model, n.0, n.1, n.2, n.3 and 5 more" in text
    assert "5 of 8 values that enter or leave a module" in text


def test_a_candidate_that_raises_is_quoted() -> None:
    text = format_report(crashed("raised ValueError: no", {}))
    assert text.startswith("DISAGREE: the candidate could not be run")
    assert "the candidate: raised ValueError: no" in text
    assert "cause" not in text


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_the_candidate_says_is_shown_and_not_obeyed(is_terminal: bool, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07[red]x[/red]\r\u202e\x9b31m"
    hostile = replace(STRETCH, reference=evil, candidate=evil, value=evil, agrees=evil, between=(evil, evil),
                      candidate_between=(evil, "b"), cause=PairCause(name=evil, evidence=evil, remedy=evil),
                      source={"reference": evil, "candidate": evil})  # fmt: skip
    report = disagreeing(
        findings=(hostile, Finding(kind=FindingKind.CRASH, cause=PairCause(evidence=evil))),
        title=evil,
        not_compared=(evil,),
        accepted=({"name": "n", "place": evil, "seen": [evil]},),
        islands=({"side": evil, "source": evil, "operation": evil, "dtype": evil},),
    )
    out = io.StringIO()
    print_report(report, Console(file=out, force_terminal=is_terminal, color_system=None, width=100))
    assert all(char.isprintable() for char in out.getvalue().replace("\n", ""))
    assert out.getvalue().count("[red]x[/red]") > 10
    assert out.getvalue().count(r"\x1b]0;owned\x07") > 10
    assert "\x1b" not in heading(hostile)
    write_junit(report, tmp_path / "r.xml")
    written = (tmp_path / "r.xml").read_text()
    assert "\u202e" not in written
    assert "\x9b" not in written


def test_the_verdict_comes_with_how_many_places() -> None:
    assert format_report(disagreeing()).startswith("DISAGREE: the two part at 4 places (A pair)")
    assert format_report(disagreeing(verdict=Verdict.AGREE, findings=())).startswith("AGREE: ")
