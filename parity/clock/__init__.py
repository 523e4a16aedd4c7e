"""An honest clock: medians with their intervals, what of the cores was used, and whether the machine was its own."""

from parity.clock.meter import Memory, Meter, Use
from parity.clock.statistics import median_interval, times_words
from parity.clock.times import Times, measured
from parity.clock.watch import Timed, Watch, Yardstick, are_apart

__all__ = [
    "Memory",
    "Meter",
    "Timed",
    "Times",
    "Use",
    "Watch",
    "Yardstick",
    "are_apart",
    "measured",
    "median_interval",
    "times_words",
]
