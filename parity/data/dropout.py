"""Dropout masks: which units of each hidden layer are kept, for every sample of a minibatch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.errors import InputError
from parity.spec import ModelSpec, child_seeds

Masks = NDArray[np.bool_]


def draw_masks(spec: ModelSpec, batch_size: int, rng: np.random.Generator) -> Masks:
    """The masks of one minibatch, shape (num_hidden_layers, batch, hidden_width); True where a unit is kept.

    A unit is dropped with a chance of `spec.dropout_rate`, independently of all others. Drawn by NumPy, so that every
    framework drops the same units, and what they compute can be compared to rounding.
    """
    return rng.random((spec.num_hidden_layers, batch_size, spec.hidden_width)) >= spec.dropout_rate


class MaskStream:
    """The masks of a training, minibatch by minibatch, the same for every framework and learning rate.

    Args:
        spec: the network.
        batch_size: samples in a minibatch.
        seed: the trial's seed, of which the stream uses a child (`parity.spec.child_seeds`).

    >>> MaskStream(ModelSpec(dropout_rate=0.5), batch_size=32, seed=0).next_updates(10).shape
    (10, 3, 32, 64)
    """

    def __init__(self, spec: ModelSpec, batch_size: int, seed: int) -> None:
        self._spec, self._batch_size = spec, batch_size
        self._generator = np.random.default_rng(child_seeds(seed).masks)

    def next_updates(self, count: int) -> Masks:
        """The masks of the next updates, shape (count, num_hidden_layers, batch, hidden_width)."""
        return np.stack([draw_masks(self._spec, self._batch_size, self._generator) for _ in range(count)])


def mask_arguments(masks: Masks | None) -> dict[str, Any]:
    """What `train_step` and `run_pass` take beside their minibatches: nothing without dropout."""
    return {} if masks is None else {"masks": masks}


def check_masks(spec: ModelSpec, masks: Any, batches: tuple[int, ...]) -> None:
    """Check that training with dropout is given its masks; every backend says it in these words.

    Args:
        spec: the network.
        masks: what was given.
        batches: the shape of the minibatches, the batch size last.

    Raises:
        InputError: there are none although the network has dropout, or they are of another shape.
    """
    if not spec.dropout_rate:
        return
    *before, batch = batches
    shape = (*before, spec.num_hidden_layers, batch, spec.hidden_width)
    if np.shape(masks) != shape:
        got = "none" if masks is None else str(np.shape(masks))
        raise InputError(f"training with dropout needs masks of shape {shape}, got {got}; draw them with draw_masks")
