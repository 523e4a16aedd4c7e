"""The two models of a pair, timed."""

from parity.pair_bench.records import PairBenchConfig, PairBenchReport, PairRow
from parity.pair_bench.run import bench_pair

__all__ = ["PairBenchConfig", "PairBenchReport", "PairRow", "bench_pair"]
