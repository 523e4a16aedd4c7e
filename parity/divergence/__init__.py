"""How a training ended, and where between two learning rates training breaks down."""

from parity.divergence.bisection import BRACKET_RATIO, bisect, drive, find_bracket
from parity.divergence.learning_rates import LearningRates, geometric_mean
from parity.divergence.status import Status, classify, final_loss, first_offense, stuck_loss, useful_loss

__all__ = [
    "BRACKET_RATIO",
    "LearningRates",
    "Status",
    "bisect",
    "classify",
    "drive",
    "final_loss",
    "find_bracket",
    "first_offense",
    "geometric_mean",
    "stuck_loss",
    "useful_loss",
]
