"""What a reader relies on in the figures of a check."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fake_check_report import SAFETY, agreeing, change, crashed, disagreeing, equivalence, free_run, running_free
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from places import at

from parity.check.records import Cause, CheckReport, Question, Setting
from parity.report.check_absolute import relative_by_layer
from parity.report.check_cause import fitted_multiple, predicted_and_observed
from parity.report.check_equivalence import mean_differences
from parity.report.check_figures import check_figures
from parity.report.check_free_run import free_run_distances
from parity.report.check_noise import noise_by_layer, noise_by_step
from parity.report.check_series import Kind, chosen, groups_of, kind_of
from parity.verdict import trace

TEST_INPUTS = at("input.test_inputs", trace.Kind.PRESENTED)
NOISE = {"layer": noise_by_layer, "step": noise_by_step}
either = pytest.mark.parametrize("draw", NOISE.values(), ids=NOISE)


def png(figure: Figure) -> None:
    figure.savefig(io.BytesIO(), format="png", dpi=50)


def lines(figure: Figure, gid: str) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == gid]


def heights(found: list[Line2D]) -> list[float]:
    return [float(value) for line in found for value in np.asarray(line.get_ydata())]


def semantic(report: CheckReport) -> tuple:
    return report, [group for group in groups_of(report) if group.question is Question.SEMANTIC]


def broken(value: float) -> CheckReport:
    """A report in which the loss is off by `value` times the noise floor everywhere."""
    return change(agreeing((3,)), lambda m: m.tensor == "loss", times_noise=value, distance=value)


@either
def test_the_limit_stands_at_the_safety_factor_and_the_floor_at_1(draw: Callable) -> None:
    figure = draw(*semantic(replace(agreeing((3,)), safety=77.0)))
    assert set(heights(lines(figure, "limit"))) == {77.0}
    assert set(heights(lines(figure, "floor"))) == {1.0}
    low, high = figure.axes[0].get_ylim()
    assert low < 1 < 77 < high


@either
def test_the_worst_of_each_kind_is_drawn(draw: Callable) -> None:
    report, groups = semantic(agreeing((3,)))
    figure = draw(report, groups)
    for kind in (Kind.FORWARD, Kind.GRADIENTS, Kind.UPDATES, Kind.STATISTICS, Kind.EVALUATION):
        worst = max(m.times_noise for group in groups for m in group.measurements if kind_of(m) is kind)
        assert max(heights(lines(figure, kind.name))) == worst


@either
def test_only_points_beyond_the_limit_are_ringed(draw: Callable) -> None:
    assert lines(draw(*semantic(agreeing((3,)))), "beyond") == []
    at_limit = broken(SAFETY)
    assert lines(draw(*semantic(at_limit)), "beyond") == []
    rings = lines(draw(*semantic(broken(SAFETY * 1.01))), "beyond")
    assert set(heights(rings)) == {SAFETY * 1.01}
    assert all(ring.get_markerfacecolor() == "none" and ring.get_marker() == "o" for ring in rings)


@either
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite_is_ringed_at_the_top(draw: Callable, value: float) -> None:
    figure = draw(*semantic(broken(value)))
    png(figure)
    marks = lines(figure, "FORWARD: infinite")
    assert marks
    assert all(0.9 < height < 1 for height in heights(marks))
    assert all(line.get_transform() == line.axes.get_xaxis_transform() for line in marks if line.axes)
    assert sorted(heights(lines(figure, "beyond"))) == sorted(heights(marks))
    assert any(text.get_text() == "∞" for text in figure.findobj(Text) if isinstance(text, Text))


@either
def test_a_distance_of_zero_stands_open_at_the_foot(draw: Callable) -> None:
    still = change(agreeing((3,)), lambda m: kind_of(m) is Kind.EVALUATION, times_noise=0.0, distance=0.0)
    marks = lines(draw(*semantic(still)), "EVALUATION: zero")
    assert marks
    assert all(0 < height < 0.1 for height in heights(marks))
    assert {line.get_markerfacecolor() for line in marks} == {"white"}
    assert lines(draw(*semantic(still)), "EVALUATION") == []


def test_kinds_differ_in_more_than_colour() -> None:
    figure = noise_by_layer(*semantic(agreeing((3,))))
    markers = {kind: {str(line.get_marker()) for line in lines(figure, kind.name)} for kind in Kind}
    used = [marker for found in markers.values() for marker in found]
    assert len(used) == len(set(used)) == 5


def test_layers_stand_in_causal_order() -> None:
    axes = noise_by_layer(*semantic(agreeing((3,)))).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2", "head", "loss"]
    assert list(axes.get_xticks()) == sorted(axes.get_xticks())


def test_updates_come_by_number_and_probes_after() -> None:
    report = agreeing((3,))
    axes = noise_by_step(*semantic(replace(report, measurements=report.measurements[::-1]))).axes[0]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names[:7] == ["0", "1", "2", "3", "4", "10", "batch of one"]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Tick labels that cover their neighbours, words outside the sheet, axis labels that reach into a title below."""
    figure.draw_without_rendering()
    found = []
    for axes in figure.axes:
        low, high = axes.get_xlim()
        labels = [tick for tick in axes.get_xticklabels() if tick.get_text() and low <= tick.get_position()[0] <= high]
        boxes = [label.get_window_extent() for label in labels if label.get_rotation() == 0]
        found += [("tick", axes.get_title(loc="left")) for a, b in pairwise(boxes) if a.x1 > b.x0]
        texts = [text for text in (axes.xaxis.label, axes.yaxis.label, *labels, *axes.texts) if text.get_text()]
        found += [("outside", text.get_text()) for text in texts if not _inside(figure, text.get_window_extent())]
        below = [other for other in figure.axes if other.get_position().y1 <= axes.get_position().y0]
        label = axes.xaxis.label.get_window_extent()
        found += [("label over title", axes.get_title(loc="left")) for other in below if label.y0 < _top(other)]
    return found


def _top(axes) -> float:
    return max(box.y1 for box in (axes.get_window_extent(), axes._left_title.get_window_extent()))


def _inside(figure: Figure, box) -> bool:
    return box.x0 >= -0.5 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 + 0.5 and box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("depths", [(1,), (8,), (50,), (1, 8, 50)], ids=str)
def test_nothing_overlaps_at_any_depth(depths: tuple[int, ...]) -> None:
    for figure in check_figures(report := disagreeing(depths), groups_of(report)):
        assert overlaps(figure.draw()) == [], figure.name


def test_free_runs_and_statistics_do_not_overlap() -> None:
    report = running_free()
    assert overlaps(free_run_distances(report)) == []
    assert overlaps(mean_differences(report)) == []


def test_the_relative_figure_shows_the_floor_rising_with_depth() -> None:
    figure = relative_by_layer(*semantic(agreeing((50,))))
    with_norm, without = (np.asarray(line.get_ydata(), float) for line in lines(figure, "floor: median"))
    assert with_norm[-1] > 1e5 * with_norm[0]
    assert without[-1] < 1e3 * without[0]


def test_many_settings_leave_the_worst_in_their_order() -> None:
    groups = groups_of(change(agreeing((1,), seeds=30), lambda m: m.setting.seed == 29, times_noise=99.0))
    shown = chosen(groups)
    assert len(shown) == 12
    assert {29} <= {group.setting.seed for group in shown}
    assert [group for group in groups if group in shown] == shown


def test_a_free_run_is_held_against_the_twins_times_safety() -> None:
    run = free_run(Setting(depth=25, batch_norm=True, seed=0), chaotic=True)
    figure = free_run_distances(agreeing((3,), free_runs=(run,)))
    assert heights(lines(figure, "twins")) == pytest.approx((SAFETY * run.twins).tolist())
    assert heights(lines(figure, "candidate from reference"))[1:] == pytest.approx(run.distances[1:].tolist())
    assert len(lines(figure, "candidate from reference: zero")) == 1
    assert [list(np.asarray(line.get_xdata())) for line in lines(figure, "horizon")] == [[run.horizon] * 2]
    assert [list(np.asarray(line.get_xdata())) for line in lines(figure, "twin_horizon")] == [[run.twin_horizon] * 2]
    (grey,) = [patch for patch in figure.axes[0].patches if patch.get_gid() == "not judged"]
    assert grey.get_window_extent().x0 < figure.axes[0].get_window_extent().x1


@pytest.mark.parametrize(
    ("dtype", "times_noise", "words"),
    [
        ("float64", 3.0, "within the limit"),
        ("float64", 1e9, "BEYOND THE LIMIT"),
        ("float64", math.nan, "BEYOND THE LIMIT"),
        ("float32", 1e9, "not judged in float32"),
    ],
)
def test_a_free_run_says_whether_it_is_within(dtype: str, times_noise: float, words: str) -> None:
    run = replace(free_run(Setting(depth=3, batch_norm=True, seed=0, dtype=dtype)), times_noise=times_noise)
    figure = free_run_distances(agreeing((3,), free_runs=(run,)))
    assert any(words in text.get_text() for text in figure.axes[0].texts)


def test_intervals_are_drawn_in_margins() -> None:
    figure = mean_differences(running_free())
    assert sorted(float(np.asarray(line.get_xdata())[0]) for line in lines(figure, "margin")) == [-1.0, 1.0]
    (different,) = lines(figure, "mean: different")
    assert list(np.asarray(different.get_xdata())) == pytest.approx([-4.0])
    ends = [np.asarray(line.get_xdata()).tolist() for line in lines(figure, "interval")]
    assert ends == [pytest.approx([-0.15, 0.35]), pytest.approx([-4.8, -3.2]), pytest.approx([-1.25, 1.75])]
    words = [text.get_text() for text in figure.axes[0].texts]
    for outcome in ("EQUIVALENT", "DIFFERENT", "INCONCLUSIVE: 40 seeds would settle it"):
        assert any(outcome in text for text in words)


def test_an_equivalence_without_numbers_can_be_drawn() -> None:
    nothing = replace(
        equivalence(Setting(depth=1, batch_norm=True, seed=0), "final loss", "inconclusive", 0.0, 1.0, 0.1),
        mean=math.nan, low=math.nan, high=math.nan, margin=math.nan, candidate=np.full(12, np.inf),
    )  # fmt: skip
    flat = replace(nothing, mean=1.0, low=0.0, high=2.0, margin=0.0, outcome="different", seeds_needed=None)
    figure = mean_differences(agreeing((1,), equivalences=(nothing, flat)))
    png(figure)
    assert lines(figure, "interval") == []
    words = [text.get_text() for text in figure.axes[0].texts]
    assert any("no mean" in text for text in words)
    assert any("DIFFERENT\n1 [0, 2], margin 0" in text for text in words)


def test_the_cause_is_drawn_with_the_identity_and_the_fit() -> None:
    report = disagreeing((1,))
    assert report.cause is not None
    assert report.cause.predicted is not None
    figure = predicted_and_observed(report, report.cause)
    (left, right) = lines(figure, "identity")
    assert list(np.asarray(left.get_xdata())) == list(np.asarray(left.get_ydata()))
    assert list(np.asarray(right.get_ydata())) == [0.0, 0.0]
    fit = lines(figure, "fit")[0]
    assert np.asarray(fit.get_ydata()) == pytest.approx(31 / 32 * np.asarray(fit.get_xdata()))
    assert len(np.asarray(lines(figure, "values")[0].get_xdata())) == report.cause.predicted.size
    assert "fitted: observed = 0.96875 × predicted" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    "observed", [np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]), np.array([1.0, -2.0, 9.0])],
    ids=["identical", "shifted", "unrelated"],
)  # fmt: skip
def test_no_line_is_fitted_to_what_is_no_multiple(observed: np.ndarray) -> None:
    assert fitted_multiple(np.array([1.0, 2.0, 3.0]), observed) is None


def names(report: CheckReport) -> list[str]:
    return [figure.name for figure in check_figures(report, groups_of(report))]


def test_only_figures_that_apply_are_drawn() -> None:
    lockstep = [f"{name}_{part}" for name in ("semantic", "precision") for part in ("by_layer", "by_step", "relative")]
    assert names(agreeing((1,))) == lockstep
    assert names(disagreeing((1,))) == [*lockstep, "cause_1"]
    assert names(running_free()) == [*lockstep, "free_run", "statistical"]
    assert names(crashed()) == []
    given = replace(agreeing((1,)).measurements[0], question=Question.INPUTS, key=TEST_INPUTS)
    assert names(replace(crashed(), measurements=(replace(given, times_noise=0.0),))) == []
    assert names(replace(crashed(), measurements=(replace(given, times_noise=0.1),))) == ["inputs_by_layer"]
    lone = Cause(name="x", evidence="", predicted=np.ones(3), observed=None)
    odd = [lone, replace(lone, observed=np.ones(2)), replace(lone, observed=np.full(3, np.nan))]
    assert names(replace(crashed(), cause=odd[0], other_causes=tuple(odd[1:]))) == []


def test_every_figure_names_its_data_set_and_its_command() -> None:
    for report in (disagreeing((1,)), running_free()):
        for figure in check_figures(report, groups_of(report)):
            text = "\n".join(str(found.get_text()) for found in figure.draw().findobj(Text) if isinstance(found, Text))
            assert "data set: synthetic" in text
            assert report.command in text
            assert len(figure.alt) > 60
