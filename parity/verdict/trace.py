"""What a computation shows: tensors, each with the place where it was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


class Mode(StrEnum):
    """How a model was run."""

    TRAIN = "train"
    EVALUATION = "evaluation"


class Kind(StrEnum):
    """What kind of tensor a measurement is of."""

    PRESENTED = "presented"  # what a side says that it computes on, before any step
    LOADED = "loaded"  # a weight or statistic that was handed over, as the side gives it back
    ACTIVATION = "activation"  # forward
    ACTIVE_UNITS = "active units"  # the distance from 0 of units that only one side has active
    STATISTIC = "statistic"  # a running statistic after an update
    LOSS = "loss"
    COTANGENT = "cotangent"  # the gradient of the loss with respect to an activation
    GRADIENT = "gradient"
    UPDATED = "updated"  # a weight after an update
    INCREMENT = "increment"  # what an update left that the side's own gradients and activations do not explain
    SIDE_EFFECT = "side effect"  # the change of a state by an evaluation
    OUTCOME = "outcome"  # the end of several updates
    REFUSAL = "refusal"  # 1 if the side refused what it was given, else 0


class Key(NamedTuple):
    """Where a tensor was measured.

    Args:
        step: the update, from 0; of an evaluation the last update before it.
        mode: how the model was run.
        kind: of tensor.
        path: of the module, parameter or value within the model, with dots.
        number: tells apart what is otherwise at one place, such as two evaluations.
    """

    step: int
    mode: Mode
    kind: Kind
    path: str
    number: int = 0


@dataclass(frozen=True)
class Trace:
    """What a side showed, in causal order.

    Args:
        tensors: every tensor, by its key.
        scales: for tensors that are a residue of larger ones, the array whose size sets their rounding.
        absent: what the side does not show, in words.
        patterns: the active units of each ReLU by path, for each update and each evaluation that shows them.
    """

    tensors: dict[Key, Array] = field(default_factory=dict)
    scales: dict[Key, Array] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    patterns: dict[tuple[Mode, int], Mapping[str, NDArray[np.bool_]]] = field(default_factory=dict)
