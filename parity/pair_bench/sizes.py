"""The batch of a pair in other sizes, and as its candidate takes it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from parity.backend.batch import map_arrays
from parity.errors import InputError


def samples_in(batch: Mapping[str, Any]) -> int:
    """The size of a batch: that of the first axis of most of its arrays."""
    sizes: Counter[int] = Counter()
    map_arrays(lambda leaf: sizes.update([np.shape(leaf)[0]] if np.ndim(leaf) else []), batch)
    (most, count), *others = [*sizes.most_common(2), (0, 0)]
    if not count or others[0][1] == count:
        told = ", ".join(map(str, sizes)) or "none"
        raise InputError(f"the sizes of the inputs' first axes are {told}: none of them is that of a batch for sure")
    return most


def resized(batch: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A batch of another size: its samples again and again; what has no axis of samples stays."""
    own = samples_in(batch)
    if size == own:
        return dict(batch)

    def taken(leaf: Any) -> Any:
        has_samples = np.ndim(leaf) and np.shape(leaf)[0] == own
        return np.take(leaf, np.arange(size) % own, axis=0) if has_samples else leaf

    return map_arrays(taken, batch)  # type: ignore[no-any-return]


def sample_axes(batch: Mapping[str, Any], layouts: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The axis of the samples in each array, as it is laid out for the candidate; -1 in one that has no samples.

    Args:
        batch: as the reference takes it, samples first.
        layouts: of the candidate's inputs; none for the reference.
    """
    own = samples_in(batch)

    def axis(leaf: Any, axes: Sequence[int]) -> int:
        if not (np.ndim(leaf) and np.shape(leaf)[0] == own):
            return -1
        return list(axes).index(0) if np.ndim(leaf) == len(axes) else 0

    return {name: map_arrays(partial(axis, axes=layouts.get(name, ())), each) for name, each in batch.items()}


def as_laid_out(batch: Mapping[str, Any], layouts: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """A batch as the candidate takes it."""

    def moved(leaf: Any, axes: Sequence[int]) -> Any:
        return np.ascontiguousarray(np.transpose(leaf, axes)) if np.ndim(leaf) == len(axes) else leaf

    return {
        name: map_arrays(partial(moved, axes=layouts[name]), each) if name in layouts else each
        for name, each in batch.items()
    }
