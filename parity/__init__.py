"""One batch-norm experiment, written in JAX/Flax and in PyTorch, and a verdict on whether the two agree.

This package is framework-neutral: importing it imports NumPy, and neither framework.
"""

from parity.backend import Backend, Learner, Population, backend_names, convert_weights, load_backend
from parity.data import Dataset, StandardizedData, load_dataset, standardize
from parity.errors import InputError
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
from parity.weights import draw_weights, load_weights, registration_order_names, save_weights

__all__ = [
    "Backend",
    "BlockOrder",
    "Dataset",
    "Initialization",
    "InputError",
    "Learner",
    "LearningRates",
    "ModelSpec",
    "Outcome",
    "Population",
    "RunningVariance",
    "StandardizedData",
    "Status",
    "SweepConfig",
    "SweepInterrupted",
    "SweepReport",
    "Threshold",
    "TrainSpec",
    "Trial",
    "backend_names",
    "convert_weights",
    "draw_weights",
    "load_backend",
    "load_dataset",
    "load_weights",
    "registration_order_names",
    "save_weights",
    "standardize",
    "sweep",
]
