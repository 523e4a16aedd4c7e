"""How large the gallery's experiments are."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from parity.data import Dataset, StandardizedData, load_dataset, standardize
from parity.errors import InputError
from parity.spec import ModelSpec, check_count
from parity.sweep.grid import LearningRates

WIDTH = ModelSpec.hidden_width  # of every network that is trained
SEED = 0  # where there is one


@dataclass(frozen=True, kw_only=True)
class LabConfig:
    """All that decides the numbers of the gallery.

    Args:
        frameworks: names of backends.
        dataset: name of the data set.
        data_dir: where its files lie; "" to look in the usual places.
        fraction: share of the training set that is used.
        norm_batches: batches whose running statistics are watched.
        curvature_depths: depths whose largest Hessian eigenvalue is looked for.
        curvature_samples: the batch of which it is.
        watched_updates: after how many updates of a training it is looked for again, rising.
        gradient_width, gradient_samples, gradient_depth: the wide network whose gradient's growth is measured.
        batch_sizes: that are compared, at the same number of samples seen.
        remedy_depths: depths whose remedies are compared.
        diagram_depths: rows of the phase diagram.
        diagram_rates: its columns.
        seeds: seeds 0 to `seeds - 1`, where several are averaged.

    Raises:
        InputError: a field breaks its rule.
    """

    frameworks: tuple[str, ...]
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
    remedy_depths: tuple[int, ...] = (10, 25, 50)
    diagram_depths: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10)
    diagram_rates: LearningRates = field(default_factory=lambda: LearningRates(0.01, 100.0, 41))
    seeds: int = 2

    def __post_init__(self) -> None:
        if not self.frameworks:
            raise InputError("frameworks must name at least one, got none")
        for name in (
            "norm_batches",
            "curvature_samples",
            "gradient_width",
            "gradient_samples",
            "seeds",
        ):
            check_count(name, getattr(self, name), 1, "an experiment needs one")
        check_count("gradient_depth", self.gradient_depth, 5, "a slope is drawn through its lower layers")
        for name in ("curvature_depths", "batch_sizes", "remedy_depths", "diagram_depths"):
            if not getattr(self, name):
                raise InputError(f"{name} must name at least one, got none")
            for value in getattr(self, name):
                check_count(name, value, 2 if name == "batch_sizes" else 1, "an experiment needs one")


@cache
def raw_data(name: str, data_dir: str) -> Dataset:
    """The data set, read once in a process."""
    return load_dataset(name, Path(data_dir) if data_dir else None)


@cache
def lab_data(name: str, data_dir: str, fraction: float) -> StandardizedData:
    """The standardized data set, made once in a process."""
    return standardize(raw_data(name, data_dir), fraction)
