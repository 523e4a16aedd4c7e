"""Wrong conventions and weight imports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.spec import BlockOrder, ModelSpec
from parity.weights import Weights

Reading = Callable[[ModelSpec], ModelSpec]


@dataclass(frozen=True)
class WeightImport:
    """How weights enter a network and leave it; gradients leave as weights do.

    Args:
        load: from the given weights to those that the network holds.
        save: the reverse.
    """

    load: Callable[[Mapping[str, Any]], Weights] = dict
    save: Callable[[Mapping[str, Any]], Weights] = dict


AS_GIVEN = WeightImport()


def read_conventions(spec: ModelSpec) -> ModelSpec:
    """Return the conventions that a network is built by: those of the spec."""
    return spec


def read_otherwise(honest: Reading, spec: ModelSpec, **fields: Any) -> ModelSpec:
    """Read some conventions differently from the spec."""
    return replace(honest(spec), **fields)


def swap_momentum(honest: Reading, spec: ModelSpec) -> ModelSpec:
    """Read the decay as its complement."""
    read = honest(spec)
    return replace(read, decay=1 - read.decay)


def swap_block_order(honest: Reading, spec: ModelSpec) -> ModelSpec:
    """Read the paper's block order as the lab's, and the lab's as the paper's."""
    read, (first, other) = honest(spec), BlockOrder
    return replace(read, block_order=other if read.block_order is first else first)


def cumulative_decay(decay: float, update: int) -> float:
    """Return the decay that makes the running statistics the plain average of updates 1 to `update`."""
    return 1 - 1 / update


def debiased_decay(decay: float, update: int) -> float:
    """Return the decay of a zero-debiased moving average at an update, counted from 1.

    With raw averages that start at 0, `raw = decay * raw + (1 - decay) * batch`, the statistic is `raw / (1 -
    decay**update)`: the same as a moving average of decay `decay * (1 - decay**(update-1)) / (1 - decay**update)`.
    """
    return decay * (1 - decay ** (update - 1)) / (1 - decay**update)


def swap_mean_and_variance(weights: Mapping[str, Any]) -> Weights:
    """Swap each running mean with its running variance."""
    other = {"running_mean": "running_var", "running_var": "running_mean"}

    def source(name: str) -> str:
        layer, _, leaf = name.rpartition(".")
        return f"{layer}.{other.get(leaf, leaf)}"

    return {name: weights[source(name)] for name in weights}


def transpose_square_kernels(weights: Mapping[str, Any]) -> Weights:
    """Transpose every square hidden kernel, which no shape reveals."""

    def is_square(name: str, array: Any) -> bool:
        return name.startswith("hidden.") and name.endswith(".kernel") and array.shape[-1] == array.shape[-2]

    return {
        name: np.ascontiguousarray(np.swapaxes(array, -1, -2)) if is_square(name, array) else array
        for name, array in weights.items()
    }
