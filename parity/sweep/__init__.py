"""The learning-rate sweep: at which learning rate does training diverge, with and without batch norm?"""

from parity.divergence import LearningRates, Status
from parity.sweep.driver import SweepInterrupted, sweep
from parity.sweep.executors import Execution
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.records import Outcome, SweepReport, Threshold, Trial

__all__ = [
    "Execution",
    "Group",
    "LearningRates",
    "Outcome",
    "Status",
    "SweepConfig",
    "SweepInterrupted",
    "SweepReport",
    "Threshold",
    "Trial",
    "sweep",
]
