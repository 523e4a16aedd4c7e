"""The gallery's experiments, small enough for a test."""

from dataclasses import replace
from typing import Any

from parity.lab import LabConfig
from parity.sweep import LearningRates


def small_config(*frameworks: str, **changes: Any) -> LabConfig:
    """All parts in seconds."""
    config = LabConfig(
        frameworks=frameworks or ("jax", "torch"),
        dataset="synthetic",
        fraction=0.2,
        norm_batches=100,
        curvature_depths=(1, 3),
        curvature_samples=64,
        gradient_width=48,
        gradient_samples=64,
        gradient_depth=6,
        batch_sizes=(2, 32),
        remedy_depths=(10,),
        diagram_depths=(1, 4),
        diagram_rates=LearningRates(0.01, 100, 5),
        seeds=2,
    )
    return replace(config, **changes)
