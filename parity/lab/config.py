"""How large the gallery's experiments are."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from parity.data import Dataset, StandardizedData, load_dataset, standardize
from parity.divergence import LearningRates
from parity.errors import InputError
from parity.spec import ModelSpec, check_count, check_fraction, check_values, use_python_values
from parity.sweep.grid import MOST_LAYERS, MOST_SEEDS

WIDTH = ModelSpec.hidden_width  # of every network that is trained
SEED = 0  # where there is one
HALF_DECADES = LearningRates(0.001, 1.0, 7)


@dataclass(frozen=True, kw_only=True)
class LabConfig:
    """All that decides the numbers of the gallery.

    Args:
        frameworks: names of backends.
        parts: names of the parts that are run, in any order; none for all, see `parity.lab.PARTS`.
        dataset: name of the data set.
        data_dir: where its files lie; "" to look in the usual places.
        fraction: share of the training set that is used.
        norm_batches: batches whose running statistics are watched.
        curvature_depths: depths whose largest Hessian eigenvalue is looked for.
        curvature_samples: the batch of which it is.
        watched_updates: after how many updates of a training it is looked for again, rising.
        gradient_width, gradient_samples, gradient_depth: the wide network whose gradient's growth is measured.
        batch_sizes: that are compared, at the same number of samples seen.
        batch_size_rates: learning rates of which each has its best.
        remedy_depths: depths whose remedies are compared.
        remedy_rates: learning rates at which they are.
        diagram_depths: rows of the phase diagram.
        diagram_rates: its columns.
        seeds: seeds 0 to `seeds - 1`, where several are averaged.

    Raises:
        InputError: a field breaks its rule.
    """

    frameworks: tuple[str, ...]
    parts: tuple[str, ...] = ()
    dataset: str = "fashion-mnist"
    data_dir: str = ""
    fraction: float = 0.1
    norm_batches: int = 1000
    curvature_depths: tuple[int, ...] = (1, 2, 4, 8)
    curvature_samples: int = 256
    watched_updates: tuple[int, ...] = (0, 10, 20, 40, 80, 160)
    gradient_width: int = 512
    gradient_samples: int = 512
    gradient_depth: int = 16
    batch_sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128)
    batch_size_rates: LearningRates = HALF_DECADES
    remedy_depths: tuple[int, ...] = (10, 25, 50)
    remedy_rates: LearningRates = HALF_DECADES
    diagram_depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 10, 25, 50)
    diagram_rates: LearningRates = field(default_factory=lambda: LearningRates(0.01, 100.0, 41))
    seeds: int = 2

    def __post_init__(self) -> None:
        use_python_values(self)
        for name, low, most in (
            ("curvature_depths", 1, MOST_LAYERS),
            ("batch_sizes", 2, None),
            ("remedy_depths", 1, MOST_LAYERS),
            ("diagram_depths", 1, MOST_LAYERS),
            ("watched_updates", 0, None),
        ):
            for value in self._set_values(name):
                check_count(name, value, low, "an experiment needs one" if low == 1 else f"the least is {low}", most)
        self._set_values("frameworks")
        if self.parts:
            self._set_values("parts")
        if list(self.watched_updates) != sorted(self.watched_updates):
            raise InputError(f"watched_updates must rise, got {self.watched_updates}; sort them")
        for name in ("dataset", "data_dir"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be a word, got {getattr(self, name)!r}")
        for name in ("batch_size_rates", "remedy_rates", "diagram_rates"):
            if not isinstance(getattr(self, name), LearningRates):
                raise InputError(f"{name} must be LearningRates, got {getattr(self, name)!r}")
        check_fraction(self.fraction)
        check_count("seeds", self.seeds, 1, "an experiment needs one", MOST_SEEDS)
        check_count("norm_batches", self.norm_batches, 50, "running averages must have forgotten their start")
        for name in ("curvature_samples", "gradient_samples"):
            check_count(name, getattr(self, name), 2, "batch norm needs two")
        check_count("gradient_width", self.gradient_width, 16, "what is shown holds for wide networks")
        check_count("gradient_depth", self.gradient_depth, 5, "a slope is drawn through its lower layers", MOST_LAYERS)

    def _set_values(self, name: str) -> tuple[Any, ...]:
        values = check_values(name, getattr(self, name))
        object.__setattr__(self, name, values)
        return values


@cache
def raw_data(name: str, data_dir: str) -> Dataset:
    """The data set, read once in a process."""
    return load_dataset(name, Path(data_dir) if data_dir else None)


@cache
def lab_data(name: str, data_dir: str, fraction: float) -> StandardizedData:
    """The standardized data set, made once in a process."""
    return standardize(raw_data(name, data_dir), fraction)
