"""The thresholds in words, on the page and on the terminal."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from fake_sweep import fake_report
from rich.console import Console

from parity.report.boundaries import USEFUL, BoundaryRow, boundary_table, median_rate, rate_text
from parity.report.sweep_answers import answers, depths_in_words
from parity.report.tables import print_thresholds
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


def first_row(values: dict[str, list[float]]) -> BoundaryRow:
    return boundary_table(report_of(values))[0]


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([0.41234, 0.41234], "0.412"),
        ([1.0], "1.0"),
        ([math.inf], "> 10"),
        ([0.0], "none trained"),
        ([0.9, 0.5, 0.4], "0.500 (0.400 to 0.900)"),
        ([4.0, 1.0], "2.00 (1.00 to 4.00)"),
        ([0.5, math.inf, math.inf], "> 10 (0.500 to > 10)"),
        ([0.0, 0.5, 0.6], "0.500 (none trained to 0.600)"),
    ],
)
def test_the_text_of_a_threshold(rates: list[float], text: str) -> None:
    assert first_row({"a": rates}).cells["a"][False].text == text


def test_seeds_that_have_not_finished_are_counted() -> None:
    row = first_row({"a": [0.5, 0.5, 0.5], "b": [0.4], "c": []})
    assert [row.cells[name][False].text for name in "abc"] == ["0.500", "0.40 [1 of 3 seeds]", "not finished"]


def with_boundaries(values: dict[tuple[int, bool], list[tuple[float, float | None]]], **changes: Any) -> SweepReport:
    """A report of JAX: by depth and batch norm, the smallest divergent and the largest useful rate at each seed."""
    depths, seeds = tuple(sorted({depth for depth, _ in values})), max(map(len, values.values()))
    report = fake_report(depths=depths, frameworks=("jax",), seeds=seeds, titles={"jax": "JAX"}, **changes)
    thresholds = []
    for group in report.config.groups():
        for divergent, useful in values.get((group.depth, group.batch_norm), [])[group.seed : group.seed + 1]:
            outcome = {math.inf: Outcome.NONE_FAILED, 0.0: Outcome.NONE_TRAINED}.get(divergent, Outcome.BRACKETED)
            edge = divergent if outcome is Outcome.BRACKETED else None
            thresholds.append(
                Threshold(
                    group=group, outcome=outcome, smallest_divergent=edge, largest_useful=useful,
                    largest_stable=None if outcome is Outcome.NONE_TRAINED else edge or 10.0,
                )
            )  # fmt: skip
    return replace(report, thresholds=tuple(thresholds))


@pytest.mark.parametrize(
    ("without", "with_norm", "text"),
    [
        ([(0.5, None)], [(2.0, None)], "4.0"),
        ([(0.5, None), (1.0, None)], [(2.0, None), (8.0, None)], "5.7 (4.0 to 8.0)"),  # seed by seed
        ([(0.5, None), (0.0, None)], [(2.0, None), (8.0, None)], "4.0"),
        ([(0.0, None)], [(2.0, None)], "–"),
        ([(0.5, None)], [(math.inf, None)], "–"),
        ([(0.5, None)], [], "–"),
    ],
)
def test_the_factor_is_taken_seed_by_seed_where_both_are_numbers(
    without: list[Any], with_norm: list[Any], text: str
) -> None:
    (row,) = boundary_table(with_boundaries({(2, False): without, (2, True): with_norm}))
    factor = row.factors["jax"]
    assert factor is not None
    assert factor.text == text


def test_without_both_settings_there_is_no_factor() -> None:
    report = fake_report(depths=(2,))
    config = replace(report.config, batch_norm=(True,))
    thresholds = tuple(found for found in report.thresholds if found.group.batch_norm)
    report = replace(report, config=config, thresholds=thresholds)
    (row,) = boundary_table(report)
    assert list(row.factors.values()) == [None, None]
    assert len(list(row.texts())) == 2
    assert "factor" not in printed(report)
    assert answers(report)[0].startswith(
        "jax: with batch norm the smallest divergent learning rate is 3.3, the largest"
    )


def test_the_largest_useful_rate_is_told_as_what_it_is() -> None:
    found = {
        (1, False): [(0.5, 0.2)],
        (2, False): [(math.inf, 10.0)],
        (3, False): [(0.5, None)],
        (4, False): [(0.0, None)],
    }
    cells = [row.cells["jax"][False].text for row in boundary_table(with_boundaries(found), USEFUL)]
    assert cells == ["0.20", "> 10", "none", "none"]


def test_the_answer_is_the_range_over_depths_and_seeds() -> None:
    report = with_boundaries(
        {
            (1, False): [(0.5, 0.1), (0.4, 0.1)], (1, True): [(2.0, 1.0), (2.0, 2.0)],
            (2, False): [(0.5, 0.2), (0.5, 0.2)], (2, True): [(1.0, 1.0), (2.0, None)],
            (8, False): [(0.0, None), (0.0, None)], (8, True): [(2.0, 1.0), (2.0, 1.0)],
        }
    )  # fmt: skip
    assert answers(report) == [
        "JAX: with batch norm the smallest divergent learning rate is 2.0 to 5.0 times as large, the largest useful "
        "5.0 to 20 times (depths 1, 2); without batch norm nothing trained in 2 passes at depth 8"
    ]


def test_the_depths_stand_beside_each_boundary_where_they_differ() -> None:
    report = with_boundaries(
        {(1, False): [(0.5, 0.1)], (1, True): [(2.0, 1.0)], (2, False): [(0.5, None)], (2, True): [(2.0, 1.0)]}
    )
    assert answers(report) == [
        "JAX: with batch norm the smallest divergent learning rate is 4.0 times as large (depths 1, 2), the largest "
        "useful 10 times (depth 1)"
    ]


def test_a_depth_that_trained_at_one_seed_is_not_told_as_one_that_never_did() -> None:
    report = with_boundaries({(2, False): [(0.0, None), (0.5, 0.2)], (2, True): [(math.inf, 10.0), (2.0, 1.0)]})
    assert answers(report) == [
        "JAX: with batch norm the smallest divergent learning rate is 4.0 times as large, the largest useful 5.0 times "
        "(depth 2)"
    ]


def test_nothing_found_is_no_answer() -> None:
    assert answers(fake_report(trials=(), thresholds=())) == []


@pytest.mark.parametrize(
    ("depths", "words"), [([4], "depth 4"), ([1, 2, 3, 8], "depths 1 to 3, 8"), ([1, 2], "depths 1, 2")]
)
def test_depths_in_words(depths: list[int], words: str) -> None:
    assert depths_in_words(depths) == words


def test_rows_are_sorted_by_depth() -> None:
    assert [row.depth for row in boundary_table(fake_report(depths=(8, 1)))] == [1, 8]


def test_one_seed_decides_no_third_digit() -> None:
    assert first_row({"a": [0.41234]}).cells["a"][False].text == "0.41"


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
    report = with_boundaries({(2, False): [(0.5, 0.25)], (2, True): [(2.0, 1.0)]})
    found = printed(report)
    words = (answers(report)[0], "Smallest divergent", "Largest useful", "fashion-mnist", "0.50", "0.25", "JAX, factor")
    assert [each for each in words if each not in found] == []
    assert "[bold]torch," in printed(report_of({"jax": [1.0], "[bold]torch": [0.5]}))
    assert "not finished" in printed(report_of({"jax": [1.0]}))


@pytest.mark.parametrize(("width", "has_room"), [(150, True), (60, False)])
def test_ranges_are_left_out_where_a_terminal_has_no_room(width: int, has_room: bool) -> None:
    stream = io.StringIO()
    print_thresholds(report_of({"jax": [0.5, 0.6, 0.7]}), Console(file=stream, width=width))
    found = stream.getvalue()
    assert ("0.600 (0.500 to 0.700)" in found, "their ranges are in the report" in found) == (has_room, not has_room)
    assert "0.600" in found


def test_the_terminal_says_what_is_incomplete() -> None:
    assert "INCOMPLETE" in printed(replace(fake_report(depths=(1,)), complete=False))
    assert "INCOMPLETE" not in printed(fake_report(depths=(1,)))
