"""The thresholds in words, on the page and on the terminal."""

import io
import math
from dataclasses import replace

import pytest
from fake_sweep import fake_report
from rich.console import Console

from parity.report.tables import ThresholdRow, median_rate, print_thresholds, rate_text, threshold_table
from parity.sweep.records import Outcome, SweepReport, Threshold


def report_of(values: dict[str, list[float]]) -> SweepReport:
    """A report of one depth without batch norm: divergent learning rates of each framework by seed."""
    seeds = max(len(found) for found in values.values())
    report = fake_report(depths=(2,), frameworks=tuple(values), seeds=seeds)
    thresholds = []
    for group in report.config.groups():
        if not group.batch_norm and group.seed < len(values[group.framework]):
            value = values[group.framework][group.seed]
            outcome = {math.inf: Outcome.NONE_FAILED, 0.0: Outcome.NONE_TRAINED}.get(value, Outcome.BRACKETED)
            edge = value if outcome is Outcome.BRACKETED else None
            thresholds.append(Threshold(group=group, outcome=outcome, smallest_divergent=edge))
    return replace(report, thresholds=tuple(thresholds))


def first_row(values: dict[str, list[float]]) -> ThresholdRow:
    return threshold_table(report_of(values))[0]


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([0.41234], "0.412"),
        ([1.0], "1.00"),
        ([math.inf], "> 10"),
        ([0.0], "none trained"),
        ([0.9, 0.5, 0.4], "0.500 (0.400 to 0.900)"),
        ([4.0, 1.0], "2.00 (1.00 to 4.00)"),
        ([0.5, math.inf, math.inf], "> 10 (0.500 to > 10)"),
        ([0.0, 0.5, 0.6], "0.500 (none trained to 0.600)"),
    ],
)
def test_the_text_of_a_threshold(rates: list[float], text: str) -> None:
    assert first_row({"a": rates}).cells["a"].text == text


def test_seeds_that_have_not_finished_are_counted() -> None:
    row = first_row({"a": [0.5, 0.5, 0.5], "b": [0.4], "c": []})
    assert [row.cells[name].text for name in "abc"] == ["0.500", "0.400 [1 of 3 seeds]", "not finished"]


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ({"torch": [0.5], "jax": [1.0]}, 2.0),  # the frameworks are sorted
        ({"jax": [math.inf], "torch": [0.5]}, None),
        ({"jax": [0.0], "torch": [0.5]}, None),
        ({"jax": [0.5], "torch": []}, None),
        ({"jax": [0.5]}, None),
        ({"a": [0.5], "b": [0.5], "c": [0.5]}, None),
    ],
)
def test_the_ratio_needs_two_frameworks_and_two_numbers(values: dict[str, list[float]], ratio: float | None) -> None:
    assert first_row(values).ratio == ratio


def test_rows_are_sorted_by_depth_then_batch_norm() -> None:
    rows = threshold_table(fake_report(depths=(8, 1)))
    assert [(row.depth, row.batch_norm) for row in rows] == [(1, False), (1, True), (8, False), (8, True)]


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "1.23e+04"), (123.4, "123"), (9.996, "10.0"), (2e-5, "2.00e-05")]
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert rate_text(value, 10.0) == text


def test_a_median_needs_a_value() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        median_rate([])


def printed(report: SweepReport) -> str:
    stream = io.StringIO()
    print_thresholds(report, Console(file=stream, width=150))
    return stream.getvalue()


def test_the_terminal_shows_the_same_words() -> None:
    found = printed(report_of({"jax": [1.0], "[bold]torch": [0.5]}))
    for words in ("fashion-mnist", "[bold]torch / jax", "0.500", "1.00", "0.50", "not finished"):
        assert words in found
    assert "/" not in printed(report_of({"jax": [1.0]}))


def test_the_terminal_says_what_is_incomplete() -> None:
    assert "INCOMPLETE" in printed(replace(fake_report(depths=(1,)), complete=False))
    assert "INCOMPLETE" not in printed(fake_report(depths=(1,)))
