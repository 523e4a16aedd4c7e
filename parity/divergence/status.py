"""How a training ended, from its losses."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

EXPLOSION_WINDOW = 20  # consecutive updates
EXPLOSION_FACTOR = 10.0  # times the first update's loss
FINAL_WINDOW = 100  # updates
STUCK_FACTOR = 0.95  # times the entropy of the training labels


class Status(StrEnum):
    """How a trial ended."""

    TRAINED = "trained"
    STUCK = "stuck"
    DIVERGED = "diverged"
    ERROR = "error"


def first_offense(losses: NDArray[np.floating], finite: NDArray[np.bool_]) -> int | None:
    """Return the first update at which a run diverges, or None.

    Update `t` offends if its loss, or a weight or statistic after it, is not finite, or if the mean loss of updates
    `t - 19` to `t` is above 10 times the loss of update 0. It depends on the updates alone, not on how they were
    chunked.

    Args:
        losses: training loss of each update, shape (updates,).
        finite: whether all weights and statistics were finite after each update, shape (updates,).
    """
    offends = ~(np.isfinite(losses) & finite)
    if len(losses) >= EXPLOSION_WINDOW:
        # Sum the finite losses only: any other loss already offends by itself, before any window that holds it.
        summands = np.where(np.isfinite(losses), losses, 0.0).astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(summands, EXPLOSION_WINDOW)
        with np.errstate(over="ignore"):  # a sum of losses near the largest float is infinite, and offends
            offends[EXPLOSION_WINDOW - 1 :] |= windows.mean(axis=1) > EXPLOSION_FACTOR * float(losses[0])
    return int(offends.argmax()) if offends.any() else None


def final_loss(losses: NDArray[np.floating]) -> float:
    """Return the mean loss of the last 100 updates (of all, if there are fewer)."""
    return float(losses[-FINAL_WINDOW:].mean(dtype=np.float64))


def stuck_loss(label_entropy: float) -> float:
    """Return the final loss from which on a finite run is stuck: 0.95 times the entropy of the labels, in nats."""
    return STUCK_FACTOR * label_entropy


def useful_loss(best_loss: float, label_entropy: float) -> float:
    """Return the final loss up to which a learning rate is useful, in nats.

    It is the middle between the best learning rate's final loss and the entropy of the labels: a useful learning rate
    keeps at least half of what the best one gains over a network that ignores its input.
    """
    return (best_loss + label_entropy) / 2


def classify(losses: NDArray[np.floating], finite: NDArray[np.bool_], label_entropy: float) -> Status:
    """Return `diverged` if an update offends, `stuck` if the final loss is too high (`stuck_loss`), else `trained`."""
    if first_offense(losses, finite) is not None:
        return Status.DIVERGED
    return Status.TRAINED if final_loss(losses) < stuck_loss(label_entropy) else Status.STUCK
