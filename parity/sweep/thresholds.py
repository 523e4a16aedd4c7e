"""The divergent learning rate of a group, from its trials."""

from collections.abc import Sequence

import numpy as np

from parity.divergence import Status, find_bracket
from parity.sweep.grid import Group
from parity.sweep.records import Outcome, Threshold, Trial


def find_threshold(group: Group, trials: Sequence[Trial]) -> Threshold | None:
    """Return the threshold of a group from all of its trials; None if all crashed."""
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
        survivors_above=sum(t.learning_rate > low for t in trained),
        best_learning_rate=best.learning_rate,
        best_test_accuracy=best.test_accuracy,
    )
