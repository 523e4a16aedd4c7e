"""Which framework is faster on this machine, in which mode, measured so that both camps accept it.

Every mode trains the same networks from the same weights on the same minibatches, in processes that take turns, and its
time counts only if its steps are those of the reference.
"""

from parity.bench.config import BenchConfig, Case
from parity.bench.records import BenchReport
from parity.bench.run import bench

__all__ = ["BenchConfig", "BenchReport", "Case", "bench"]
