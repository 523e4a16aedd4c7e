"""The same model in two frameworks, and a verdict on whether the two agree.

This package is framework-neutral: importing it imports NumPy, and neither framework.
"""

from parity.assertion import assert_parity
from parity.backend import Backend, Inputs, Learner, Population, Step, backend_names, load_backend
from parity.bench import BenchConfig, BenchReport, Case, bench
from parity.check.config import CheckConfig
from parity.check.records import CheckReport
from parity.check.run import check
from parity.convert import convert_weights
from parity.data import Dataset, StandardizedData, load_dataset, standardize
from parity.errors import InputError
from parity.estimate import EstimateConfig, EstimateReport, estimate
from parity.pair.inputs import integers, normal, uniform
from parity.pair.records import CompareReport, Finding
from parity.pair.run import compare
from parity.pair.transform import transposed
from parity.pair_bench import PairBenchConfig, PairBenchReport, bench_pair
from parity.spec import BlockOrder, Initialization, ModelSpec, RunningVariance, TrainSpec
from parity.sweep import (
    LearningRates,
    Outcome,
    Status,
    SweepConfig,
    SweepInterrupted,
    SweepReport,
    Threshold,
    Trial,
    sweep,
)
from parity.verdict.verdict import Verdict
from parity.weights import draw_weights, load_weights, registration_order_names, save_weights

__all__ = [
    "Backend",
    "BenchConfig",
    "BenchReport",
    "BlockOrder",
    "Case",
    "CheckConfig",
    "CheckReport",
    "CompareReport",
    "Dataset",
    "EstimateConfig",
    "EstimateReport",
    "Finding",
    "Initialization",
    "InputError",
    "Inputs",
    "Learner",
    "LearningRates",
    "ModelSpec",
    "Outcome",
    "PairBenchConfig",
    "PairBenchReport",
    "Population",
    "RunningVariance",
    "StandardizedData",
    "Status",
    "Step",
    "SweepConfig",
    "SweepInterrupted",
    "SweepReport",
    "Threshold",
    "TrainSpec",
    "Trial",
    "Verdict",
    "assert_parity",
    "backend_names",
    "bench",
    "bench_pair",
    "check",
    "compare",
    "convert_weights",
    "draw_weights",
    "estimate",
    "integers",
    "load_backend",
    "load_dataset",
    "load_weights",
    "normal",
    "registration_order_names",
    "save_weights",
    "standardize",
    "sweep",
    "transposed",
    "uniform",
]
