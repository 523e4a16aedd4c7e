"""The divergent and the useful learning rate of a group, from its trials."""

import math
from collections.abc import Sequence

import numpy as np

from parity.divergence import Status, find_bracket, useful_loss
from parity.sweep.grid import Group
from parity.sweep.records import Outcome, Threshold, Trial


def find_threshold(group: Group, trials: Sequence[Trial], label_entropy: float) -> Threshold | None:
    """Return the threshold of a group from all of its trials; None if all crashed.

    Args:
        group: framework, depth, batch norm and seed.
        trials: of the group, in any order.
        label_entropy: of the training labels, in nats.
    """
    trials = [t for t in trials if t.status is not Status.ERROR]
    trained = [t for t in trials if t.status is Status.TRAINED]
    if not trials:
        return None
    if not trained:
        return Threshold(group=group, outcome=Outcome.NONE_TRAINED)
    best = max(trained, key=lambda t: (np.nan_to_num(t.test_accuracy or 0.0), -t.learning_rate))
    bracket = find_bracket(trials)
    low, high = bracket or (max(t.learning_rate for t in trained), None)
    return Threshold(
        group=group,
        outcome=Outcome.BRACKETED if bracket else Outcome.NONE_FAILED,
        largest_stable=low,
        smallest_divergent=high,
        largest_useful=_largest_useful(trained, best, high, label_entropy),
        survivors_above=sum(t.learning_rate > low for t in trained),
        best_learning_rate=best.learning_rate,
        best_test_accuracy=best.test_accuracy,
    )


def _largest_useful(
    trained: Sequence[Trial], best: Trial, smallest_divergent: float | None, label_entropy: float
) -> float | None:
    """Return the largest learning rate below the smallest that failed that keeps half of the best one's gain.

    None if there is none: the best one can lie above a learning rate that failed.
    """
    if best.final_loss is None:
        return None
    most = useful_loss(best.final_loss, label_entropy)
    below = [t for t in trained if t.learning_rate < (smallest_divergent or math.inf)]
    return max((t.learning_rate for t in below if t.final_loss is not None and t.final_loss <= most), default=None)
