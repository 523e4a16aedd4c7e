"""The results of a sweep: trials, thresholds, and the report that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from parity.divergence import Status
from parity.sweep.grid import Group, SweepConfig


class Outcome(StrEnum):
    """Whether a group's grid holds the boundary between training and failing."""

    BRACKETED = "bracketed"
    NONE_FAILED = "none_failed"
    NONE_TRAINED = "none_trained"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run. A value that does not apply is None.

    Args:
        group: framework, depth, batch norm and seed.
        learning_rate: of plain SGD.
        status: see `parity.divergence.classify`.
        steps: updates before the first offending one; all of them where there is none.
        initial_loss: the first update's training loss, in nats.
        final_loss: mean training loss of the last 100 updates. None for a diverged trial, like the next four.
        train_loss: mean loss over the whole training subsample at the end, in evaluation mode.
        train_accuracy: share of the training subsample classified correctly, in evaluation mode.
        test_loss: as `train_loss`, over the test set.
        test_accuracy: as `train_accuracy`, over the test set.
        message: what went wrong in a trial of status `error`.
        losses: training loss of each update that was run, in nats.
    """

    group: Group
    learning_rate: float
    status: Status
    steps: int | None = None
    initial_loss: float | None = None
    final_loss: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    message: str = ""
    losses: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32), repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The divergent and the useful learning rate of one group.

    Args:
        group: framework, depth, batch norm and seed.
        outcome: whether the boundary was bracketed.
        largest_stable: the trained end of the final pair.
        smallest_divergent: the failed end of the final pair; None unless bracketed.
        largest_useful: the largest learning rate, below the smallest that failed, whose final loss is no higher than
            the middle between the best learning rate's and the entropy of the labels.
        survivors_above: trained learning rates above the pair (the boundary is fractal, not monotone).
        best_learning_rate: the trained rate of highest test accuracy, ties to the smaller.
        best_test_accuracy: that accuracy.
    """

    group: Group
    outcome: Outcome
    largest_stable: float | None = None
    smallest_divergent: float | None = None
    largest_useful: float | None = None
    survivors_above: int = 0
    best_learning_rate: float | None = None
    best_test_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """The results of a sweep, and how they were made.

    Args:
        config: what was asked for.
        trials: sorted by group, then by learning rate.
        thresholds: one for each finished group, sorted by group.
        dataset: the data set's name, as it stands on every figure.
        label_entropy: entropy of the training labels in nats: the loss of a network that ignores its input.
        environment: versions of Python, NumPy and the frameworks, and the machine.
        command: what made it.
        complete: False when the sweep was interrupted.
        titles: the frameworks' names as their makers write them, by name.
    """

    config: SweepConfig
    trials: tuple[Trial, ...]
    thresholds: tuple[Threshold, ...]
    dataset: str
    label_entropy: float
    environment: Mapping[str, str]
    command: str
    complete: bool = True
    titles: Mapping[str, str] = field(default_factory=dict)

    def title(self, framework: str) -> str:
        """A framework's name as its makers write it."""
        return self.titles.get(framework, framework)

    @property
    def has_errors(self) -> bool:
        """Whether a trial crashed."""
        return any(trial.status is Status.ERROR for trial in self.trials)
