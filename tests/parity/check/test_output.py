"""What is made of a check's report: the JSON that other programs read, JUnit XML, and the text that people read."""

import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from check_reports import EVIDENCE, SAFETY, agreeing, crashed, disagreeing, measurement, setting, with_long_runs
from rich.console import Console

from parity.check.config import CheckConfig
from parity.check.output import report_dict, write_json, write_junit
from parity.check.records import Cause, CheckReport, Question
from parity.check.screen import format_report, print_report
from parity.errors import InputError
from parity.files import plain
from parity.verdict.verdict import Verdict

NOT_ASKED = (
    "semantic was not asked of the candidate jax, which does not offer float64; ask for less with --questions precision"
)


def incomplete() -> CheckReport:
    """A check of a candidate that offers float32 only."""
    found = [m for m in agreeing().measurements if m.question is Question.PRECISION]
    return agreeing(verdict=Verdict.INCOMPLETE, measurements=tuple(found), not_asked=(NOT_ASKED,))


COLUMNS = ("compared", "noise", "limit", "tivity", "worst", "tensor")
REPORTS: dict[str, Callable[[], CheckReport]] = {
    "agreeing": agreeing,
    "disagreeing": disagreeing,
    "crashed": crashed,
    "long": lambda: with_long_runs(agreeing()),
    "infinite": lambda: disagreeing(first_divergence=measurement(math.inf, distance=math.nan, step="probe:batch_of_2")),
    "unexplained": lambda: disagreeing(cause=None, other_causes=()),
    "incomplete": incomplete,
    "no limit": lambda: agreeing(safety=math.inf, seconds=math.nan),
}


@pytest.fixture(params=REPORTS)
def report(request: pytest.FixtureRequest) -> CheckReport:
    return REPORTS[request.param]()


def refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def written(report: CheckReport, folder: Path) -> dict[str, Any]:
    """What another program reads."""
    write_json(report, folder / "verdict.json")
    return json.loads((folder / "verdict.json").read_text(encoding="ascii"), parse_constant=refuse_constant)


# JSON


def breaches(value: dict[str, Any]) -> list[str]:
    """Where a verdict breaks the contract of the design, which is written here once more by hand."""
    wanted: dict[str, Callable[[Any], bool]] = {
        "schema": lambda v: v == 1 and type(v) is int,
        "verdict": lambda v: v in ("agree", "disagree", "incomplete"),
        "failed_question": lambda v: (
            v in (None, "inputs", "semantic", "precision", "free_run", "statistical", "crash")
            and (v is None) == (value["verdict"] != "disagree")
        ),
        "comparisons": lambda v: type(v) is int and v >= 0,
        "first_divergence": lambda v: v is None or is_divergence(v),
        "cause": lambda v: is_cause(v) if value["verdict"] == "disagree" else v is None,
        "other_causes": lambda v: isinstance(v, list) and all(map(is_cause, v)),
        "sensitivity": lambda v: type(v) is float or v is None,
        "not_compared": lambda v: isinstance(v, list) and all(type(item) is str for item in v),
        "environment": lambda v: isinstance(v, dict),
        "not_asked": lambda v: isinstance(v, list) and bool(v) == (value["verdict"] == "incomplete"),
        "accepted": lambda v: isinstance(v, list) and all(type(item) is str for item in v),
    }
    return [name for name, holds in wanted.items() if name not in value or not holds(value[name])]


def is_divergence(value: dict[str, Any]) -> bool:
    step, layer, times = (value[name] for name in ("step", "layer", "times_noise"))
    return (
        (type(step) is int or (type(step) is str and step.startswith("probe:")))
        and (layer in ("input", "head", None) or type(layer) is int)
        and type(value["tensor"]) is str
        and (type(value["relative"]) is float or value["relative"] is None)
        and (type(times) is float or times is None)
    )


def is_cause(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and type(value["name"]) is str
        and type(value["evidence"]) is str
        and type(value["remedy"]) is str
        and bool(value["name"] and value["evidence"])
    )


def test_every_report_keeps_the_contract(report: CheckReport, tmp_path: Path) -> None:
    assert breaches(written(report, tmp_path)) == []


@pytest.mark.parametrize(
    ("broken", "breach"),
    [
        ({"schema": 2}, "schema"),
        ({"verdict": "agree", "failed_question": None}, "cause"),
        ({"cause": None}, "cause"),
        ({"failed_question": None}, "failed_question"),
        ({"first_divergence": {"step": "3", "layer": 2, "tensor": "loss", "times_noise": 1.0}}, "first_divergence"),
        ({"first_divergence": {"step": 3, "layer": "2", "tensor": "loss", "times_noise": 1.0}}, "first_divergence"),
        ({"sensitivity": "1e-9"}, "sensitivity"),
    ],
)
def test_the_contract_can_be_broken(broken: dict[str, Any], breach: str, tmp_path: Path) -> None:
    assert breaches(written(disagreeing(), tmp_path) | broken) == [breach]


def test_a_disagreement_is_told_in_full(tmp_path: Path) -> None:
    found = written(disagreeing(), tmp_path)
    first = found["first_divergence"]
    assert (found["verdict"], found["failed_question"], found["comparisons"]) == ("disagree", "semantic", 9)
    assert {
        name: first[name] for name in ("step", "layer", "tensor", "times_noise", "depth", "batch_norm", "pair")
    } == {
        "step": 3,
        "layer": 2,
        "tensor": "running variance",
        "times_noise": 1.25e13,
        "depth": 25,
        "batch_norm": True,
        "pair": ["candidate", "reference"],
    }
    assert first["limit"] == SAFETY * 2.0**-50
    assert (found["cause"]["name"], found["cause"]["evidence"]) == ("biased_running_variance", EVIDENCE)
    assert found["cause"]["predicted"] == [1.0, None]
    assert "--running-variance biased" in found["cause"]["remedy"]
    assert first["relative"] == pytest.approx(1.25e13 * 2.0**-50)
    assert [other["name"] for other in found["other_causes"]] == ["fast_variance"]
    assert found["sensitivity"] == SAFETY * 2.0**-50
    assert found["not_compared"] == ["activations of the hidden layers"]
    assert found["environment"] == {"numpy": "2.4.6", "threads": 2, "x64": True, "load": None}
    assert (found["reference"], found["candidate"], found["safety"]) == ("torch", "jax", SAFETY)
    assert found["config"]["depths"] == [1, 25]
    assert (found["command"], found["seconds"]) == ("bnparity check --depths 1 25", 12.5)


def test_limits_stand_by_question_and_setting(tmp_path: Path) -> None:
    limits = written(agreeing(), tmp_path)["limits"]
    assert [(one["question"], one["depth"], one["dtype"]) for one in limits] == [
        ("semantic", 1, "float64"),
        ("semantic", 25, "float64"),
        ("precision", 1, "float32"),
        ("precision", 25, "float32"),
    ]
    assert {(one["comparisons"], one["limit_times_noise"], one["sensitivity"]) for one in limits} == {
        (2, SAFETY, SAFETY * 2.0**-50)
    }
    assert {one["worst"]["times_noise"] for one in limits} == {3.25}


def test_long_runs_are_told(tmp_path: Path) -> None:
    found = written(with_long_runs(agreeing()), tmp_path)
    (run,) = found["free_runs"]
    assert (run["depth"], run["distances"], run["horizon"], run["twin_horizon"]) == (8, [1e-15, None], None, 120)
    first, second = found["equivalences"]
    assert (first["quantity"], first["outcome"], first["seeds_needed"], first["high"]) == (
        "divergent learning rate",
        "inconclusive",
        31,
        None,
    )
    assert (second["outcome"], second["seeds_needed"], len(second["candidate"])) == ("equivalent", None, 12)


def test_an_incomplete_check_is_told_in_every_form(tmp_path: Path) -> None:
    report = incomplete()
    found = written(report, tmp_path)
    assert (found["verdict"], found["not_asked"]) == ("incomplete", [NOT_ASKED])
    assert " ".join(format_report(report).split()).startswith(f"INCOMPLETE: {NOT_ASKED} ")
    assert format_report(report).count("not asked") == 1
    shown = cases(report, tmp_path)
    failures = {name: failure for (name, _), failure in shown.items() if failure is not None}
    assert {name: (f.get("type"), f.get("message")) for name, f in failures.items()} == {
        "bnparity.check.semantic": ("incomplete", NOT_ASKED)
    }


def test_only_what_the_candidate_showed_counts(tmp_path: Path) -> None:
    own = replace(measurement(1.0, floor=2.0**-10), pair=("reference", "witness"))
    report = agreeing(measurements=(*agreeing().measurements, own))
    assert report.comparisons == agreeing().comparisons
    assert report.sensitivity() == agreeing().sensitivity()
    assert sum(one["comparisons"] for one in written(report, tmp_path)["limits"]) == report.comparisons


def test_accepted_differences_are_told(tmp_path: Path) -> None:
    report = agreeing(config=CheckConfig(depths=(1,), accept=("fast_variance",)))
    assert written(report, tmp_path)["accepted"] == ["fast_variance"]
    assert "accepted: fast_variance" in format_report(report)


def test_a_cause_says_how_large_it_is(tmp_path: Path) -> None:
    cause = Cause(name="unexplained", evidence="seen", predicted=np.full(4, 2.0), observed=np.full(4, 1.5), axes="loss")
    report = disagreeing(cause=cause)
    assert written(report, tmp_path)["cause"]["relative"] == 0.25
    assert "loss: off by 25% of its size (RMS 0.5 of 2)" in format_report(report)


def test_no_number_for_people_is_nan_or_inf() -> None:
    nothing = math.nan
    first = measurement(math.inf, distance=math.inf, step="probe:batch_of_2")
    report = with_long_runs(disagreeing(first_divergence=first, measurements=(first,)))
    answer = replace(report.equivalences[0], mean=nothing, low=nothing, high=nothing, margin=nothing, seeds=0)
    runs = (replace(report.free_runs[0], times_noise=math.inf),)
    text = format_report(replace(report, equivalences=(answer,), free_runs=runs))
    assert not re.search(r"\b(nan|inf)\b", text)


def test_without_a_cause_it_is_unexplained(tmp_path: Path) -> None:
    assert written(disagreeing(cause=None), tmp_path)["cause"]["name"] == "unexplained"
    evidence = written(crashed("raised RuntimeError: out of memory"), tmp_path)["cause"]["evidence"]
    assert evidence == "raised RuntimeError: out of memory"


def test_agreement_has_no_cause_whatever_the_report_holds() -> None:
    assert report_dict(agreeing(cause=Cause(name="wrong_epsilon", evidence="")))["cause"] is None


@pytest.mark.parametrize(
    ("questions", "expected"),
    [((Question.SEMANTIC, Question.PRECISION), 1e-3), ((Question.PRECISION,), 1e-2), ((Question.INPUTS,), 0.0)],
)
def test_sensitivity_is_that_of_the_first_question_that_has_one(
    questions: tuple[Question, ...], expected: float
) -> None:
    floors = {Question.SEMANTIC: 1e-5, Question.PRECISION: 1e-4, Question.INPUTS: 1e-3}
    report = agreeing(
        measurements=tuple(measurement(1.0, question=q, floor=floors[q]) for q in questions), safety=100.0
    )
    assert report_dict(report)["sensitivity"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("inf"), None),
        (np.array([[1.0, math.nan]]), [[1.0, None]]),
        (np.int64(3), 3),
        (np.bool_(False), False),
        ({1: (Question.INPUTS, Path("a"))}, {"1": ["inputs", "a"]}),
        (-math.inf, None),
    ],
)
def test_anything_becomes_plain(value: Any, expected: Any) -> None:
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


# JUnit XML


def cases(report: CheckReport, folder: Path) -> dict[tuple[str, str], ElementTree.Element | None]:
    """The failure, if any, of each test case, by class name and name; the counts are right."""
    write_junit(report, folder / "verdict.xml")
    root = ElementTree.parse(folder / "verdict.xml").getroot()
    found = list(root.iter("testcase"))
    assert root.tag == "testsuites"
    for element in (root, root[0]):
        assert element.get("tests") == str(len(found))
        assert element.get("failures") == str(len(list(root.iter("failure"))))
    named = {(case.get("classname", ""), case.get("name", "")): case.find("failure") for case in found}
    assert len(named) == len(found)
    return named


def test_junit_fails_if_and_only_if_the_verdict_is_no(report: CheckReport, tmp_path: Path) -> None:
    failures = [failure for failure in cases(report, tmp_path).values() if failure is not None]
    assert bool(failures) is not report.agrees
    assert all(failure.text == format_report(report) for failure in failures)


def test_junit_has_a_case_for_each_question_and_setting(tmp_path: Path) -> None:
    found = cases(with_long_runs(disagreeing()), tmp_path)
    assert {name: failure is not None for name, failure in found.items()} == {
        ("bnparity.check.semantic", str(setting(1))): False,
        ("bnparity.check.semantic", str(setting(25))): True,
        ("bnparity.check.precision", str(setting(1, dtype="float32"))): False,
        ("bnparity.check.precision", str(setting(25, dtype="float32"))): False,
        ("bnparity.check.free_run", str(setting(8))): False,
        ("bnparity.check.statistical", str(setting(8, dtype="float32"))): False,
    }
    failure = found["bnparity.check.semantic", str(setting(25))]
    assert failure is not None
    assert failure.get("message") == (
        "first divergence: step 3, layer 2, running variance, 1.25e+13 times the noise floor, limit 64"
    )


def test_junit_fails_every_setting_that_is_beyond_its_limit(tmp_path: Path) -> None:
    report = with_long_runs(disagreeing())
    run, (answer, *_) = replace(report.free_runs[0], times_noise=1e3), report.equivalences
    report = replace(
        report,
        measurements=(*report.measurements, measurement(math.nan, setting=setting(1))),
        free_runs=(run,),
        equivalences=(replace(answer, outcome="different"),),
    )
    found = cases(report, tmp_path)
    failed = [name for (name, _), failure in found.items() if failure is not None]
    assert failed == [f"bnparity.check.{name}" for name in ("semantic", "semantic", "free_run", "statistical")]


def test_junit_names_the_first_divergence_of_a_setting_and_not_the_furthest(tmp_path: Path) -> None:
    first, furthest = (measurement(times, setting=setting(8)) for times in (1e3, 1e9))
    report = replace(disagreeing(), measurements=(first, furthest))
    failure = cases(report, tmp_path)["bnparity.check.semantic", str(setting(8))]
    assert failure is not None
    assert "1e+03 times" in failure.get("message", "")


def test_junit_of_a_crash_holds_any_message(tmp_path: Path) -> None:
    message = "raised RuntimeError: \x1b[31m<bad> & \x00 \ud800 \ufffe é"
    ((name, failure),) = cases(crashed(message), tmp_path).items()
    assert name == ("bnparity.check.crash", "the whole check")
    assert failure is not None
    assert failure.get("message") == "unexplained: raised RuntimeError: ?[31m<bad> & ? ? ? é"


@pytest.mark.parametrize("write", [write_json, write_junit])
def test_a_place_that_cannot_be_written_is_bad_input(write: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write(agreeing(), tmp_path / "no" / "where")


# text


def test_text_is_80_columns_of_plain_lines(report: CheckReport) -> None:
    lines = format_report(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in "".join(lines)


def test_text_says_first_what_matters() -> None:
    lines = format_report(disagreeing()).splitlines()
    wanted = [
        "DISAGREE: jax does not compute what torch computes",
        "failed question: semantic (both take the same step from the same state)",
        "first divergence",
        "  step 3, layer 2, running variance",
        "  depth 25 with batch norm, seed 0, float64; candidate against reference",
        "  off by 1.1% of its size (RMS 0.011 of 1)",
        "  1.25e+13 times the noise floor; the limit is 64 times, RMS 5.68e-14",
        "cause",
        "  biased_running_variance, in the candidate",
        f"  {EVIDENCE}",
        "  running variance: off where the reference is not finite",
        "  to change: average n/(n-1) times the batch variance (stock Flax averages the",
        "other causes",
        "  fast_variance, in the candidate: the error grows with mean^2 / variance",
        "not compared",
        "  - activations of the hidden layers",
        "semantic, float64: both take the same step from the same state",
    ]
    places = [lines.index(line) for line in wanted]
    assert places == sorted(places)


def test_text_has_a_row_for_each_question_and_setting() -> None:
    rows = [line.split() for line in format_report(agreeing()).splitlines()]
    assert rows.count(["1", "on", "2", "3.25", "64", "5.7e-14", *["step", "0,", "layer", "2,", "gradient", "of"]]) == 2
    assert rows.count(["25", "on", "2", "3.25", "64", "5.7e-14", *["step", "0,", "layer", "2,", "gradient", "of"]]) == 2


def test_text_of_an_agreement_says_what_it_would_have_caught() -> None:
    text = format_report(with_long_runs(agreeing()))
    assert text.startswith("AGREE: jax computes what torch computes\n12 comparisons in 12.5 s; limit: 64 times")
    assert "sensitivity: 5.7e-14" in text
    assert "cause" not in text
    assert "divergence" not in text
    assert "inconclusive" in text
    assert "seed 3 never diverged" in " ".join(text.split())


def test_text_of_several_seeds_tells_them_apart() -> None:
    report = agreeing(measurements=tuple(measurement(1.0, setting=setting(seed=seed)) for seed in (0, 7)))
    lines = format_report(report).splitlines()
    assert [line.split() for line in lines if "seed" in line] == [["depth", "norm", "seed", *COLUMNS]]
    assert ["3", "on", "7", "1"] in [line.split()[:4] for line in lines]
    single = format_report(agreeing()).splitlines()
    assert [line.split() for line in single if "depth" in line] == [["depth", "norm", *COLUMNS]] * 2


def test_text_of_a_crash_says_it_once() -> None:
    assert format_report(crashed()).count("out of memory") == 1
    assert "message\n  gave no answer\n" in format_report(disagreeing(message="gave no answer"))


def test_what_others_wrote_is_shown_as_it_is() -> None:
    report = disagreeing(not_compared=("[bold]x[/bold] :smile: [red",), candidate="mine[0]")
    text = format_report(report)
    assert "- [bold]x[/bold] :smile: [red" in text
    assert text.startswith("DISAGREE: mine[0] does")


def test_a_pipe_gets_the_text_and_a_terminal_gets_colours() -> None:
    piped, terminal = io.StringIO(), io.StringIO()
    print_report(disagreeing(), Console(file=piped, width=200))
    print_report(disagreeing(), Console(file=terminal, width=100, force_terminal=True, color_system="standard"))
    assert piped.getvalue() == format_report(disagreeing()) + "\n"
    assert "\x1b[" in terminal.getvalue()
    assert EVIDENCE in terminal.getvalue()
