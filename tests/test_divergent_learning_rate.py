"""The main job on the real data: the divergent learning rates that the lab sees."""

import pytest

import parity
from parity.backend import sibling_names
from parity.sweep import Outcome


@pytest.mark.fashion_mnist
def test_batch_norm_allows_larger_steps_and_both_frameworks_agree_on_how_much_larger() -> None:
    frameworks = sibling_names()
    config = parity.SweepConfig(
        frameworks=frameworks,
        depths=(1, 4),
        learning_rates=parity.LearningRates.parse("0.01:10:7"),
        num_passes=5,
    )
    report = parity.sweep(config)
    assert not report.has_errors
    assert all(threshold.outcome is Outcome.BRACKETED for threshold in report.thresholds)
    divergent = {threshold.group: threshold.smallest_divergent or 0.0 for threshold in report.thresholds}
    for group, rate in divergent.items():
        low, high = (1.0, 3.5) if group.batch_norm else (0.3, 1.1)
        assert low <= rate <= high, group
    for depth in config.depths:
        for batch_norm in (False, True):
            rates = [divergent[group] for group in divergent if (group.depth, group.batch_norm) == (depth, batch_norm)]
            # One framework against its own one-ulp twin differs by nearly as much.
            assert max(rates) / min(rates) <= (1.2 if batch_norm else 2.0), (depth, batch_norm)
