"""The figures of a check, with what a reader needs to read them: those that apply, in order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from parity.check.free_run import describe, fails
from parity.check.records import CheckReport, Question
from parity.check.screen import place
from parity.check.words import number_words
from parity.report.check_absolute import has_sizes, relative_by_layer
from parity.report.check_cause import MOST_POINTS, points_of, predicted_and_observed
from parity.report.check_equivalence import drawn_rows, mean_differences
from parity.report.check_free_run import drawn_runs, free_run_distances
from parity.report.check_noise import noise_by_layer, noise_by_step
from parity.report.check_series import Group, chosen, excess


@dataclass(frozen=True)
class CheckFigure:
    """A figure of the report.

    Args:
        name: its anchor in the page.
        draw: makes it.
        alt: what it shows, with its numbers, for a reader who cannot see it.
        caption: how to read it.
    """

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str


_READ_NOISE = (
    "The unit is the noise floor: how far rounding alone moves that tensor, measured on the NumPy reference. At the "
    "dotted line a tensor is as far off as rounding moves it; above the dashed line it is beyond the limit and ringed. "
)
_STRIPS = "A shaded strip at the foot holds distances of exactly 0 (open markers), one at the top what is infinite."
_READ_RELATIVE = (
    "Blue: how far the two are apart, as a share of the tensor's own size (RMS). Grey: the noise floor, the same way. "
    "A floor that rises with depth makes the check blunter there: no error below the limit times the floor can be "
    "told from rounding. Tensors no larger than their own floor are left out. "
)


def answering(report: CheckReport, names: Sequence[str]) -> dict[str, str]:
    """The figures that answer where the two part, how far, and why, by their name: those of the failed question.

    Args:
        report: of the check.
        names: of the figures that apply.
    """
    failed = report.failed_question
    if failed is None:
        asked = next((q for q in (Question.SEMANTIC, Question.PRECISION) if f"{q}_by_layer" in names), None)
        found = {f"{asked}_by_layer": "How far off, by layer", f"{asked}_relative": "How small an error would be seen"}
    elif failed is Question.INPUTS:
        found = {"inputs_by_layer": "Where, and how far"}
    elif failed in (Question.SEMANTIC, Question.PRECISION):
        found = {f"{failed}_by_layer": "Where", f"{failed}_relative": "How far"}
    else:  # a crash has no figure
        found = {str(failed): "Where, and how far"}
    if report.cause is not None and points_of(report.cause) is not None:
        found["cause_1"] = "Why"
    return {name: answer for name, answer in found.items() if name in names}


def check_figures(report: CheckReport, groups: Sequence[Group]) -> Iterator[CheckFigure]:
    """The figures that apply to a report."""
    for question in (Question.INPUTS, Question.SEMANTIC, Question.PRECISION):
        found = [group for group in groups if group.question is question]
        # Inputs are usually the same to the bit: there is nothing to see then.
        if any(excess(group.worst) > 0 for group in found):
            yield from _question_figures(report, found)
    if runs := drawn_runs(report):
        yield _free_run_figure(report, len(runs))
    if rows := drawn_rows(report):
        yield _statistical_figure(report, len(rows))
    causes = [cause for cause in (report.cause, *report.other_causes) if cause is not None]
    for index, cause in enumerate(cause for cause in causes if points_of(cause) is not None):
        yield CheckFigure(
            f"cause_{index + 1}",
            lambda cause=cause: predicted_and_observed(report, cause),
            f"What the {cause.side} showed against what the honest reference predicts, for the cause "
            f"{cause.name}. Evidence: {cause.evidence}.",
            "Left: each dot is one value; on the dashed line the side would show what the honest reference predicts. "
            "Right: the same with the prediction taken off, so that a small departure shows. An orange line is drawn "
            "where the observed values are a constant multiple of the predicted ones. "
            f"Of more than {MOST_POINTS} values an even selection is drawn. Evidence: {cause.evidence}.",
        )


def _question_figures(report: CheckReport, groups: Sequence[Group]) -> Iterator[CheckFigure]:
    question, shown = groups[0].question, chosen(groups)
    left_out = _left_out(len(shown), len(groups))
    words = _noise_words(report, groups)
    yield CheckFigure(
        f"{question}_by_layer",
        lambda: noise_by_layer(report, shown),
        f"Distance over noise floor in each layer, {question} question, a panel for each setting. {words}",
        f"For each layer the worst tensor of each kind, over all updates and probes. {_READ_NOISE}{_STRIPS}{left_out}",
    )
    if question is Question.INPUTS:
        return
    yield CheckFigure(
        f"{question}_by_step",
        lambda: noise_by_step(report, shown),
        f"Distance over noise floor in each update and probe, {question} question, a panel for each setting. {words}",
        "For each update of the trajectory and each probe the worst tensor of each kind, over all layers. "
        f"{_READ_NOISE}{_STRIPS}{left_out}",
    )
    if sized := [group for group in shown if has_sizes(group)]:
        deepest = max(group.sensitivity for group in sized)
        yield CheckFigure(
            f"{question}_relative",
            lambda: relative_by_layer(report, sized),
            f"Distance and noise floor as a share of the tensors' own size in each layer, {question} question, a panel "
            f"for each setting. The smallest relative error sure to be caught in every tensor is {deepest:.2g}.",
            f"{_READ_RELATIVE}{_STRIPS}{left_out}",
        )


def _noise_words(report: CheckReport, groups: Sequence[Group]) -> str:
    worst = max((group.worst for group in groups), key=excess)
    count = sum(len(group.beyond) for group in groups)
    beyond = "No tensor is" if count == 0 else "1 tensor is" if count == 1 else f"{count} tensors are"
    return (
        f"The worst is {number_words(worst.times_noise)} times the floor, at {place(worst)} ({worst.setting}). "
        f"{beyond} beyond the limit of {report.safety:g} times."
    )


def _left_out(shown: int, total: int) -> str:
    if shown == total:
        return ""
    return f" Drawn are {shown} of {total}, those furthest above the noise floor; all are in the tables."


def _free_run_figure(report: CheckReport, shown: int) -> CheckFigure:
    failed = sum(fails(run, report.safety) for run in report.free_runs)
    sentences = " ".join(f"{describe(run, report.safety)}." for run in drawn_runs(report))
    return CheckFigure(
        "free_run",
        lambda: free_run_distances(report),
        f"Distance of two trainings after each update, a panel for each of {shown} runs; {failed} beyond the limit. "
        f"{sentences}",
        "Both sides train on their own from the same weights. While rounding is not yet as large as all that training "
        "has changed, no two of them may come further apart than the dashed red line; where the panel is grey "
        "nothing is judged. Upright lines are the horizons: from there on two runs are as far apart as the NumPy "
        f"reference has come from its start. {_STRIPS}{_left_out(shown, len(report.free_runs))}",
    )


def _statistical_figure(report: CheckReport, shown: int) -> CheckFigure:
    outcomes = "; ".join(f"{found.quantity}, {found.setting}: {found.outcome}" for found in drawn_rows(report))
    total = len(report.equivalences)
    left_out = "" if shown == total else f" Drawn are {shown} of {total}, different and inconclusive ones first."
    return CheckFigure(
        "statistical",
        lambda: mean_differences(report),
        f"Mean difference of candidate and reference over seeds with its 90% interval, against the margin. {outcomes}.",
        "An interval wholly between the dashed margins is equivalent, one wholly outside of them is different, and "
        "any other is inconclusive: more seeds would tell. Each small tick is the difference at one seed. Only "
        f"`different` counts against the candidate.{left_out}",
    )
