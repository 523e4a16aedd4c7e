"""The numbers at which two models are compared: the reference's own, but for what would hide a fault."""

from collections.abc import Mapping

import numpy as np

from parity.pair.weight_map import WeightMap
from parity.verdict.trace import Array

SPREAD = 0.1


def without_constants(
    state: Mapping[str, Array], weights: WeightMap, statistics: frozenset[str], seed: int
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Draw the mapped tensors whose elements are all alike, as those of a model that was never trained are.

    A bias of 0 that is left out changes nothing, nor does a scale of 1. So a tensor `c` becomes `c + 0.1 n`, a positive
    statistic, which may be a variance, `c exp(0.1 n)`, with `n` normally distributed. A trained model is compared as it
    is.

    Args:
        state: of the reference.
        weights: what is mapped.
        statistics: the paths of what is no parameter.
        seed: of what is drawn.

    Returns:
        The state, and the paths of what was drawn.
    """
    drawn = {path: np.array(array) for path, array in state.items()}
    rng = np.random.default_rng(seed)
    changed: list[str] = []
    for pair in weights.tensors:
        for piece in pair.reference:
            array = piece.of(drawn)
            if array.dtype.kind != "f" or not array.size or np.ptp(array) != 0:
                continue
            if array.size == 1 and float(array.flat[0]) not in (0.0, 1.0):  # one number alone may have been chosen
                continue
            n = SPREAD * rng.normal(size=array.shape)
            is_positive = piece.path in statistics and array.flat[0] > 0
            drawn[piece.path][piece.indices] = array * np.exp(n) if is_positive else array + n
            changed.append(str(piece))
    return drawn, tuple(changed)
