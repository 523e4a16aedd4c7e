"""Sweep reports that look like real ones, without any training."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from parity.divergence import LearningRates, Status
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.records import Outcome, SweepReport, Threshold, Trial

LAB_DEPTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 25, 50)
ENTROPY = math.log(10)


def boundary(group: Group) -> float:
    """A made-up divergent learning rate; 0 means that nothing trains."""
    jitter = np.random.default_rng([len(group.framework), group.depth, group.batch_norm, group.seed]).uniform(
        0.85, 1.15
    )
    if group.batch_norm:
        return (30.0 if group.depth == 1 else 2.0 + 2.0 / group.depth) * jitter
    return 0.0 if group.depth >= 10 else 0.75 * group.depth**-0.4 * jitter


def fake_trial(group: Group, rate: float, updates: int) -> Trial:
    """A trial as the boundary has it: slow at a low rate, gone above it, stuck where the network is too deep."""
    edge = boundary(group)
    random = np.random.default_rng([group.seed, group.depth, int(rate * 1e6)])
    noise = random.normal(0, 0.12, updates)
    if edge == 0:
        losses = ENTROPY * (1 + 0.05 * noise)
        return _ended(group, rate, Status.STUCK, losses, 0.1)
    if rate >= edge:
        steps = int(random.integers(2, updates // 3))
        losses = 2.35 * np.exp(np.minimum(np.arange(updates) ** 1.5 / steps, 60.0))
        return Trial(group=group, learning_rate=rate, status=Status.DIVERGED, steps=steps, initial_loss=2.35,
                     losses=losses[: steps + 1].astype(np.float32))  # fmt: skip
    speed = rate / (1 + rate * 2) * (2.0 if group.batch_norm else 1.0) / group.depth**0.3
    losses = (0.3 + 0.2 * (not group.batch_norm) + 2.0 * np.exp(-speed * np.arange(updates) / 8)) * np.exp(noise)
    return _ended(
        group,
        rate,
        Status.TRAINED,
        losses,
        0.86 - 0.02 * (not group.batch_norm) - 0.6 * math.exp(-speed * updates / 20),
    )


def _ended(group: Group, rate: float, status: Status, losses: np.ndarray, accuracy: float) -> Trial:
    last = float(losses[-100:].mean())
    return Trial(
        group=group, learning_rate=rate, status=status, steps=len(losses), initial_loss=float(losses[0]),
        final_loss=last, train_loss=last * 0.97, train_accuracy=min(accuracy + 0.03, 1.0), test_loss=last * 1.1,
        test_accuracy=accuracy, losses=losses.astype(np.float32),
    )  # fmt: skip


def fake_threshold(group: Group, trials: Iterable[Trial], high: float) -> Threshold:
    """The threshold that the made-up boundary gives."""
    trained = [trial for trial in trials if trial.status is Status.TRAINED]
    if not trained:
        return Threshold(group=group, outcome=Outcome.NONE_TRAINED)
    best = max(trained, key=lambda trial: trial.test_accuracy or 0.0)
    values: dict[str, Any] = {"best_learning_rate": best.learning_rate, "best_test_accuracy": best.test_accuracy}
    edge = boundary(group)
    if edge > high:
        values |= {"largest_stable": high, "largest_useful": high}
        return Threshold(group=group, outcome=Outcome.NONE_FAILED, **values)
    values |= {"largest_stable": edge / 1.08, "smallest_divergent": edge, "largest_useful": edge / 2}
    return Threshold(group=group, outcome=Outcome.BRACKETED, **values)


def fake_report(
    *, depths: tuple[int, ...] = (1, 2, 4, 8), frameworks: tuple[str, ...] = ("jax", "torch"), seeds: int = 1,
    rates: LearningRates | None = None, updates: int = 60, **changes: Any,
) -> SweepReport:  # fmt: skip
    """A sweep as the quick preset makes it; the rest of the report's fields can be given in `changes`."""
    rates = rates or LearningRates(0.001, 10.0, 9)
    config = SweepConfig(frameworks=frameworks, depths=depths, learning_rates=rates, num_seeds=seeds)
    trials: list[Trial] = []
    thresholds: list[Threshold] = []
    for group in sorted(config.groups()):
        edge = boundary(group)
        refined = [edge / 1.08, edge * 1.001] if rates.low < edge < rates.high else []
        found = [fake_trial(group, rate, updates) for rate in sorted([*rates.values(), *refined])]
        trials += found
        thresholds.append(fake_threshold(group, found, rates.high))
    values: dict[str, Any] = {
        "config": config, "trials": tuple(trials), "thresholds": tuple(thresholds), "dataset": "fashion-mnist",
        "label_entropy": ENTROPY, "environment": {"python": "3.12", "numpy": "2.4"},
        "command": "bnparity sweep --preset quick --out runs/quick",
    }  # fmt: skip
    return SweepReport(**(values | changes))
