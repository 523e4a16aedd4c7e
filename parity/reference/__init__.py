"""The third witness: the experiment by hand, in NumPy float64.

It shares no code with either framework, so that where two of the three agree the third is wrong. Every array may have
axes of members before its own, so a population is one network whose weights are stacked.
"""

from parity.reference.backend import NumpyBackend, NumpyLearner
from parity.reference.network import State, sgd_step

__all__ = ["NumpyBackend", "NumpyLearner", "State", "sgd_step"]
