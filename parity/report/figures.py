"""The figures of a sweep, with what a reader needs to read them."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from parity.report.curves import has_curves, training_curves
from parity.report.outcomes import loss_and_accuracy
from parity.report.thresholds import divergent_learning_rate
from parity.sweep.records import SweepReport


@dataclass(frozen=True)
class SweepFigure:
    """A figure of the report.

    Args:
        name: of its file, without the ending.
        draw: makes it.
        alt: what it shows, for a reader who cannot see it.
        caption: how to read it.
        applies: whether the report holds anything for it; a report without trials still gets its figures.
    """

    name: str
    draw: Callable[[SweepReport], Figure]
    alt: str
    caption: str
    applies: Callable[[SweepReport], bool] = lambda _: True


SWEEP_FIGURES = (
    SweepFigure(
        "divergent_learning_rate",
        divergent_learning_rate,
        "Smallest divergent and largest useful learning rate against depth, for each framework, with and without "
        "batch norm. The numbers are in the tables below.",
        "Higher is more robust: the learning rate can be raised further before training fails, that is, before it "
        "diverges or, above a learning rate that trained, is stuck. A marker is the median over seeds, a broad bar "
        "their range, and a thin bar reaches down to the largest useful learning rate. An open marker is a bound and "
        "not a value: with an arrow up, nothing failed up to the grid's upper edge; with an arrow down, nothing "
        "trained from its lower edge on.",
    ),
    SweepFigure(
        "loss_and_accuracy",
        loss_and_accuracy,
        "Final training loss and test accuracy against the learning rate, a pair of panels for each depth. "
        "The numbers are in the table of trials.",
        "For each depth, the mean training loss of the last 100 updates (above) and the accuracy on the test set in "
        "evaluation mode (below). A trial that diverged or crashed has neither value: its cross or plus stands in the "
        "shaded strip. Dashed grey: what a network scores that ignores its input. Learning rates added by the "
        "refinement of the boundary are included.",
    ),
    SweepFigure(
        "training_curves",
        training_curves,
        "Training loss against the update, a panel for each depth and setting of batch norm, "
        "one line for each of several learning rates.",
        "The loss of each update's batch, as a moving average (0.99 of the old value, 0.01 of the new, started at "
        "the first loss), at seed 0, for at most seven learning rates of the grid. A cross marks the update at "
        "which a trial diverged; it stands at the panel's upper edge where the loss was off the scale by then.",
        has_curves,
    ),
)
