"""What a backend is asked to train at once, and on what it is evaluated."""

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from parity.backend import Backend
from parity.data import StandardizedData
from parity.spec import DType
from parity.sweep.grid import SweepConfig
from parity.weights import Array

Samples = Literal["train", "test"]
EvaluatedOn = Sequence[Samples]
BOTH: EvaluatedOn = ("train", "test")


def lanes_at_work(backend: Any, config: SweepConfig, groups: int) -> int:
    """How many lanes of so many groups are at work at a time; on a CPU each is the work of a core."""
    return min(backend.lanes or 1, config.lanes_of(groups))


def pad_lanes(backend: Any, config: SweepConfig, groups: int, lanes: int | None = None) -> int:
    """How many lanes a population of so many groups is to have, when it needs `lanes`, or as many as it ever does."""
    most = config.lanes_of(groups)
    wanted = most if lanes is None else lanes
    return backend.pad_lanes(wanted, most)


def working_dtype(backend: Backend, config: SweepConfig) -> DType:
    """What a sweep trains in: float32, or what the backend has in its place."""
    dtype: DType = config.train_spec(0).dtype
    return dtype if dtype in backend.dtypes else backend.dtypes[0]


def samples_of(data: StandardizedData, name: Samples) -> tuple[Array, NDArray]:
    """Inputs and labels of one of the two sets."""
    return (data.train_inputs, data.train_labels) if name == "train" else (data.test_inputs, data.test_labels)
