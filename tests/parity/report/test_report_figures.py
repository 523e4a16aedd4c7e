"""What a reader relies on in the figures of a sweep."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from fake_sweep import ENTROPY, LAB_DEPTHS, fake_report
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text

from parity.divergence import LearningRates, Status
from parity.report.curves import moving_average, training_curves
from parity.report.figures import SWEEP_FIGURES
from parity.report.outcomes import loss_and_accuracy
from parity.report.style import series_styles
from parity.report.thresholds import divergent_learning_rate
from parity.sweep.records import Outcome, SweepReport, Threshold, Trial

Draw = Callable[[SweepReport], Figure]
every_figure = pytest.mark.parametrize("draw", [entry.draw for entry in SWEEP_FIGURES])


def texts(figure: Figure) -> list[str]:
    return [str(text.get_text()) for text in figure.findobj(Text)]


def png(figure: Figure, dpi: int = 30) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def lines(figure: Figure, gid: str) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.lines if line.get_gid() == gid]


def with_trials(change: Callable[[Trial], Trial]) -> SweepReport:
    report = fake_report(depths=(2, 50))
    return replace(report, trials=tuple(change(trial) for trial in report.trials))


def _diverged_at_once(trial: Trial) -> Trial:
    return Trial(group=trial.group, learning_rate=trial.learning_rate, status=Status.DIVERGED, steps=0,
                 losses=np.array([np.nan], np.float32))  # fmt: skip


def _crashed(trial: Trial) -> Trial:
    return Trial(group=trial.group, learning_rate=trial.learning_rate, status=Status.ERROR, message="boom")


def _absurd(trial: Trial) -> Trial:
    losses = np.resize(np.array([np.nan, np.inf, 1e30, 0.0, -1.0], np.float32), 50)
    return replace(trial, final_loss=math.inf, test_accuracy=math.nan, losses=losses)


ODD = {
    "empty": lambda: fake_report(trials=(), thresholds=()),
    "one depth, one framework": lambda: fake_report(depths=(3,), frameworks=("torch",)),
    "many frameworks": lambda: fake_report(depths=(3,), frameworks=tuple("abcdefghij")),
    "narrow grid": lambda: fake_report(depths=(3,), rates=LearningRates(0.5, 0.7, 2)),
    "all diverged": lambda: with_trials(_diverged_at_once),
    "all crashed": lambda: with_trials(_crashed),
    "not finite": lambda: with_trials(_absurd),
    "huge final loss": lambda: with_trials(lambda trial: replace(trial, final_loss=1e30)),
    "threshold with no trials": lambda: replace(fake_report(), trials=()),
    "no thresholds": lambda: replace(fake_report(depths=(1, 2)), thresholds=(), complete=False),
    "lab": lambda: fake_report(depths=LAB_DEPTHS, seeds=3, rates=LearningRates(0.001, 100.0, 21), updates=20),
}


@every_figure
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_any_report_can_be_drawn(draw: Draw, make: Callable[[], SweepReport]) -> None:
    assert png(draw(make())).startswith(b"\x89PNG")


def test_a_report_without_trials_says_so() -> None:
    empty = fake_report(trials=(), thresholds=())
    assert "nothing finished yet" in texts(divergent_learning_rate(empty))
    assert "nothing finished yet" in texts(loss_and_accuracy(empty))
    assert "no training losses are stored" in texts(training_curves(empty))


@every_figure
def test_names_its_data_set_and_its_command(draw: Draw) -> None:
    found = "\n".join(texts(draw(fake_report(depths=(1,), dataset="letters", command="bnparity sweep --depths 1 2"))))
    assert "data set: letters" in found
    assert "bnparity sweep --depths 1 2" in found


@every_figure
def test_a_command_is_drawn_as_it_stands(draw: Draw) -> None:
    figure = draw(fake_report(depths=(1,), command="bnparity --out $HOME/a_$b^{", frameworks=("$x$", "b")))
    png(figure)  # an unescaped dollar is a formula, and this one would not parse
    assert all("$" not in text.replace(r"\$", "") for text in texts(figure))


@every_figure
def test_characters_without_a_glyph_are_marked(draw: Draw) -> None:
    figure = draw(fake_report(depths=(1,), command="bnparity --out 結果\n"))
    png(figure)  # Matplotlib would warn of each missing glyph
    assert any("--out \N{REPLACEMENT CHARACTER}" in text for text in texts(figure))


@every_figure
def test_a_long_command_stays_on_the_sheet(draw: Draw) -> None:
    figure = draw(fake_report(depths=(1,), command="bnparity sweep " + "--depths 1 2 3 " * 40))
    png(figure)
    (command,) = [text for text in figure.texts if "made by" in str(text.get_text())]
    assert command.get_window_extent().x1 <= figure.bbox.x1
    panels = [box for axes in figure.axes if (box := axes.get_tightbbox())]
    assert command.get_window_extent().y1 < min(box.y0 for box in panels)


def notices(figure: Figure) -> list[str]:
    boxed = [text for text in figure.texts if text.get_bbox_patch() is not None]
    assert all(text.get_fontweight() == "bold" and float(text.get_fontsize()) >= 9 for text in boxed)
    return [str(text.get_text()).strip().split(":")[0] for text in boxed]


@every_figure
def test_synthetic_data_and_an_interruption_are_conspicuous(draw: Draw) -> None:
    assert notices(draw(fake_report(depths=(1,)))) == []
    both = fake_report(depths=(1,), dataset="synthetic", complete=False)
    assert notices(draw(both)) == ["SYNTHETIC DATA", "INCOMPLETE"]
    assert notices(draw(replace(both, trials=(), thresholds=()))) == ["SYNTHETIC DATA", "INCOMPLETE"]


def labels(figure: Figure) -> str:
    return " ".join(axes.get_xlabel() + " " + axes.get_ylabel() for axes in figure.axes)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (divergent_learning_rate, ["depth (hidden layers", "learning rate of plain SGD (no unit, log scale)"]),
        (loss_and_accuracy, ["(nats, log scale)", "(share)", "learning rate (log scale)"]),
        (training_curves, ["(nats, log scale)", "update", "learning rate (log scale)"]),
    ],
)
def test_axes_carry_their_units(draw: Draw, words: list[str]) -> None:
    found = labels(draw(fake_report(depths=(1,))))
    assert [word for word in words if word not in found] == []


@every_figure
def test_ticks_are_plain_numbers(draw: Draw) -> None:
    figure = draw(fake_report(depths=(1,)))
    png(figure)
    ticks = [
        str(tick.get_text()) for axes in figure.axes for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())
    ]
    assert "10" in ticks
    assert all(float(tick) >= 0 for tick in ticks if tick)


@every_figure
@pytest.mark.parametrize("depths", [(1,), (1, 2, 3, 4, 5)])
def test_the_legend_covers_no_panel(draw: Draw, depths: tuple[int, ...]) -> None:
    figure = draw(fake_report(depths=depths, dataset="synthetic", seeds=2, updates=20))
    png(figure, dpi=50)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x1 <= figure.bbox.x1
    assert all(axes.get_window_extent().y1 < box.y0 for axes in figure.axes)
    notice = [text for text in figure.texts if text.get_bbox_patch() is not None]
    assert box.y1 <= notice[0].get_window_extent().y0 + 1


@every_figure
def test_the_callers_settings_neither_matter_nor_change(draw: Draw) -> None:
    plain = png(draw(fake_report(depths=(1,))))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert png(draw(fake_report(depths=(1,)))) == plain
        assert dict(matplotlib.rcParams) == before


def one_threshold(outcome: Outcome, **values: Any) -> Figure:
    report = fake_report(depths=(2,), frameworks=("torch",))
    found = Threshold(group=report.config.groups()[0], outcome=outcome, **values)
    return divergent_learning_rate(replace(report, thresholds=(found,)))


@pytest.mark.parametrize(
    ("outcome", "edge", "sign", "words"),
    [
        (Outcome.NONE_FAILED, 10.0, 1, "open, arrow up: none of the grid failed"),
        (Outcome.NONE_TRAINED, 0.001, -1, "open, arrow down: none of the grid trained"),
    ],
)
def test_a_bound_is_an_open_marker_at_the_grids_edge(outcome: Outcome, edge: float, sign: int, words: str) -> None:
    figure = one_threshold(outcome)
    (marker,) = lines(figure, "bound")
    assert list(np.asarray(marker.get_ydata())) == [edge]
    assert marker.get_markerfacecolor() == "white"
    (arrow,) = [note for note in figure.axes[0].texts if isinstance(note, Annotation) and note.arrow_patch]
    assert np.sign(arrow.xyann[1]) == sign
    assert words in texts(figure)
    assert lines(figure, "value") == []


def bars(figure: Figure, gid: str) -> list[list[float]]:
    """The lower and upper end of each vertical bar."""
    found = [item for item in figure.axes[0].collections if isinstance(item, LineCollection) and item.get_gid() == gid]
    return [segment[:, 1].tolist() for item in found for segment in np.asarray(item.get_segments())]


def test_a_bracketed_threshold_is_a_filled_marker_on_a_bar_from_the_largest_useful_rate() -> None:
    figure = one_threshold(Outcome.BRACKETED, largest_stable=0.5, smallest_divergent=0.54, largest_useful=0.2)
    (marker,) = lines(figure, "value")
    assert list(np.asarray(marker.get_ydata())) == [0.54]
    assert marker.get_markerfacecolor() == marker.get_color()
    assert lines(figure, "bound") == []
    assert bars(figure, "useful") == [[0.2, 0.54]]
    assert bars(figure, "range") == []


@pytest.mark.parametrize("useful", [None, 0.5])
def test_only_a_useful_rate_has_a_bar(useful: float | None) -> None:
    figure = one_threshold(Outcome.BRACKETED, largest_stable=0.5, smallest_divergent=0.54, largest_useful=useful)
    words = "thin bar: down to the largest useful"
    assert (bool(bars(figure, "useful")), words in texts(figure)) == (useful is not None, useful is not None)


@pytest.mark.parametrize(("last", "high"), [(0.4, 0.9), (None, 10.0)])
def test_the_marker_and_the_line_are_the_median_over_seeds_and_a_bar_their_range(
    last: float | None, high: float
) -> None:
    report = fake_report(depths=(2,), frameworks=("torch",), seeds=3)
    groups = [group for group in report.config.groups() if not group.batch_norm]
    values = (
        (0.3, 0.9, last) if last else (0.3, last, 0.4)
    )  # None: nothing failed, so the range ends at the grid's edge
    found = [
        Threshold(
            group=group, outcome=Outcome.BRACKETED if value else Outcome.NONE_FAILED, smallest_divergent=value,
            largest_stable=10.0,
        )
        for group, value in zip(groups, values, strict=True)
    ]  # fmt: skip
    figure = divergent_learning_rate(replace(report, thresholds=tuple(found)))
    for gid in ("median", "value"):
        assert [value for line in lines(figure, gid) for value in np.asarray(line.get_ydata())] == [0.4]
    assert bars(figure, "range") == [[0.3, high]]


def test_a_marker_stands_at_its_depth() -> None:
    figure = divergent_learning_rate(fake_report(depths=(2, 4)))
    ticks = figure.axes[0].get_xticks()
    drawn = lines(figure, "value") + lines(figure, "bound")
    assert max(min(abs(ticks - np.asarray(line.get_xdata())[0])) for line in drawn) < 0.15


def test_coinciding_frameworks_stand_side_by_side() -> None:
    figure = divergent_learning_rate(fake_report(depths=(2, 4)))
    places = [float(np.asarray(line.get_xdata())[0]) for line in lines(figure, "value") + lines(figure, "bound")]
    assert len(set(places)) == len(places) == 8


def test_series_differ_in_more_than_colour() -> None:
    styles = series_styles(["torch", "jax", "numpy", "mine", "yours"], [True, False])
    looks = {(style.marker, str(style.dash)) for style in styles.values()}
    assert len(looks) == len({(style.color, style.marker) for style in styles.values()}) == 10
    assert series_styles(["jax", "torch"], [True]) == series_styles(["torch", "jax"], [True])


def test_failed_trials_stand_at_the_edges_and_others_at_their_values() -> None:
    figure = loss_and_accuracy(fake_report(depths=(2,), frameworks=("torch",)))
    loss, accuracy = figure.axes
    for axes, rule in ((loss, lambda y: y > 0.8), (accuracy, lambda y: y < 0.2)):
        crosses = [line for line in axes.lines if line.get_gid() == "diverged" and len(np.asarray(line.get_xdata()))]
        assert [line.get_marker() for line in crosses] == ["x", "x"]
        for cross in crosses:
            assert cross.get_transform() == axes.get_xaxis_transform()
            assert all(rule(height) for height in np.asarray(cross.get_ydata()))
    trained = [trial for trial in fake_report(depths=(2,), frameworks=("torch",)).trials if trial.status == "trained"]
    drawn = [value for line in loss.lines if line.get_gid() == "trained" for value in np.asarray(line.get_ydata())]
    assert sorted(drawn) == sorted(trial.final_loss for trial in trained if trial.final_loss is not None)


def test_stuck_is_an_open_square_and_an_error_a_plus() -> None:
    figure = loss_and_accuracy(fake_report(depths=(50,), frameworks=("torch",)))
    stuck = [line for line in lines(figure, "stuck") if len(np.asarray(line.get_xdata()))]
    assert {(str(line.get_marker()), line.get_markerfacecolor()) for line in stuck} == {("s", "white")}
    crashed = loss_and_accuracy(with_trials(_crashed))
    assert {str(line.get_marker()) for line in lines(crashed, "error")} == {"P"}
    assert "error: crashed, drawn at the edge" in texts(crashed)


def test_chance_is_drawn_and_named() -> None:
    figure = loss_and_accuracy(fake_report(depths=(2,)))
    assert [float(np.asarray(line.get_ydata())[0]) for line in lines(figure, "chance")] == [ENTROPY, 0.1]
    assert "ignoring the input: 2.30 nats, accuracy 0.1" in texts(figure)


def test_no_median_where_half_of_the_seeds_failed() -> None:
    report = fake_report(depths=(2,), frameworks=("torch",), seeds=2)
    changed = [_diverged_at_once(trial) if trial.group.seed == 1 else trial for trial in report.trials]
    figure = loss_and_accuracy(replace(report, trials=tuple(changed)))
    assert all(math.isnan(value) for line in lines(figure, "median") for value in np.asarray(line.get_ydata()))


def test_the_moving_average_starts_at_the_first_loss() -> None:
    assert moving_average([2.0, 2.0, 1.0]) == pytest.approx([2.0, 2.0, 1.99])


def test_curves_are_seed_0_at_seven_learning_rates_at_most() -> None:
    report = fake_report(depths=(2,), frameworks=("a", "b"), seeds=2, rates=LearningRates(0.001, 0.1, 21))
    curves = lines(training_curves(report), "curve")
    assert len(curves) == 2 * 2 * 7
    assert {line.get_linestyle() for line in curves} == {"-", "--"}


def test_a_cross_marks_the_update_at_which_a_trial_diverged() -> None:
    report = fake_report(depths=(2,), frameworks=("torch",))
    report = replace(report, trials=report.trials[:1])
    losses = np.array([2.0, 2.0, 2.0, 1e30, np.inf], np.float32)
    trial = replace(report.trials[0], status=Status.DIVERGED, steps=4, losses=losses)
    figure = training_curves(replace(report, trials=(trial,)))
    (cross,) = lines(figure, "left")
    low, high = figure.axes[0].get_ylim()
    assert np.asarray(cross.get_xdata()).tolist() == [4]
    assert np.asarray(cross.get_ydata()).tolist() == [pytest.approx(high)]
    assert 0 < low < ENTROPY < high < 100


@pytest.mark.parametrize("frameworks", [("torch",), tuple("abcdefghij")])
def test_absurd_losses_leave_the_scale_sane_and_stand_at_its_edge(frameworks: tuple[str, ...]) -> None:
    report = fake_report(depths=(50,), frameworks=frameworks)
    absurd = [replace(trial, status=Status.STUCK, final_loss=loss)
              for trial, loss in zip(report.trials, (math.nan, math.inf, 1e30), strict=False)]  # fmt: skip
    figure = loss_and_accuracy(replace(report, trials=(*absurd, *report.trials[3:])))
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < ENTROPY < high < 1e5
    drawn = [float(value) for line in lines(figure, "stuck") for value in np.asarray(line.get_ydata())]
    assert len([value for value in drawn if 10 * ENTROPY < value < high]) == 2
    assert not any(math.isnan(value) for value in drawn)


def test_text_without_end_makes_no_figure_without_end() -> None:
    long = "x " * 50_000
    report = fake_report(depths=(1,), frameworks=(long, "b"), command=long, dataset=long)
    for entry in SWEEP_FIGURES:
        assert max(entry.draw(report).get_size_inches()) < 15  # inches; as drawn for short ones: below 10
