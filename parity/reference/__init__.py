"""The third witness: the experiment by hand, in NumPy float64.

It shares no code with either framework, so that where two of the three agree the third is wrong. Every array may have
axes of members before its own, so a population is one network whose weights are stacked.
"""

from parity.reference.backend import NumpyBackend, NumpyLearner, NumpyPopulation
from parity.reference.network import State, evaluate, forward, sgd_step, train_step
from parity.reference.parts import Forward, Parts, cross_entropy, normalize_batch

__all__ = [
    "Forward",
    "NumpyBackend",
    "NumpyLearner",
    "NumpyPopulation",
    "Parts",
    "State",
    "cross_entropy",
    "evaluate",
    "forward",
    "normalize_batch",
    "sgd_step",
    "train_step",
]
