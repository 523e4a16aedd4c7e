"""The gallery's experiments, small enough for a test, and a framework that has none of what they need."""

import os
import time
from dataclasses import replace
from typing import Any

from parity.lab import LabConfig, Section, Text
from parity.sweep import LearningRates


def small_config(*frameworks: str, **changes: Any) -> LabConfig:
    """All parts in seconds."""
    config = LabConfig(
        frameworks=frameworks or ("jax", "torch"),
        dataset="synthetic",
        fraction=0.1,
        norm_batches=100,
        curvature_depths=(1, 3),
        curvature_samples=64,
        watched_updates=(0, 3),
        gradient_width=48,
        gradient_samples=64,
        gradient_depth=6,
        batch_sizes=(2, 32),
        batch_size_rates=LearningRates(0.01, 1, 3),
        remedy_depths=(2,),
        remedy_rates=LearningRates(0.01, 1, 3),
        diagram_depths=(1, 4),
        diagram_rates=LearningRates(0.01, 100, 5),
        seeds=2,
    )
    return replace(config, **changes)


def smallest_config(*frameworks: str) -> LabConfig:
    """All parts as small as they can be drawn, where no number of theirs is looked at."""
    return small_config(
        *frameworks,
        fraction=0.05,
        norm_batches=50,
        curvature_depths=(1,),
        curvature_samples=16,
        watched_updates=(0, 1),
        gradient_width=16,
        gradient_samples=16,
        gradient_depth=5,
        batch_sizes=(64,),
        batch_size_rates=LearningRates(0.01, 1, 2),
        remedy_depths=(1,),
        remedy_rates=LearningRates(0.01, 1, 2),
        diagram_depths=(1,),
        diagram_rates=LearningRates(0.01, 100, 3),
        seeds=1,
    )


def words(section: Section) -> str:
    """All that a section says outside its tables and figures."""
    return " ".join(block.markdown for block in section.blocks if isinstance(block, Text))


class Broken:
    """A backend that can do nothing."""

    name = "broken"

    def versions(self) -> dict[str, str]:
        return {}

    def learner(self, *arguments: Any) -> Any:
        raise NotImplementedError("broken on purpose")


class Dying(Broken):
    """A backend whose process ends when it is asked anything."""

    def versions(self) -> dict[str, str]:
        os._exit(3)


class Hanging(Broken):
    """A backend that never answers what a part asks of it."""

    def tools(self) -> Any:
        time.sleep(600)
