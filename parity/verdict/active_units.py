"""Units of a ReLU that rounding can switch.

A unit whose pre-activation is within rounding of 0 may be active on one side and not on the other. What follows from it
is continuous (activations, logits, losses, statistics) or jumps (gradients, and so updated weights).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from parity.verdict.compare import SAFETY, Distance, in_units
from parity.verdict.noise import Witness, rms
from parity.verdict.trace import Key, Kind


def can_switch(witness: Witness, pre_activations: Iterable[Key]) -> bool:
    """Return whether a unit of these pre-activations is so near to 0 that rounding can switch it."""
    tensors = witness.trace.tensors
    return not all(np.all(np.abs(tensors[key]) > SAFETY * np.max(witness.floors[key])) for key in pre_activations)


def compare_active_units(witness: Witness, key: Key, active: NDArray[np.bool_], order: int) -> Distance:
    """Return how far from 0 the witness's pre-activation is where a side disagrees on which units are active.

    The smallest error that switches these units is their own pre-activation; its RMS over all units, or over those of
    a channel where each has its own floor, is held against the floor, as that of any error is.

    Args:
        witness: the reference.
        key: of the pre-activation.
        active: of the side, of its shape.
        order: of the pre-activation.
    """
    z, floor = witness.trace.tensors[key], np.asarray(witness.floors[key])
    per_channel = floor.ndim > 0
    distance = rms(np.where(active != (z > 0), z, 0.0), per_channel)
    with np.errstate(all="ignore"):
        ratio = in_units(distance, floor)
    worst = np.unravel_index(np.argmax(ratio), np.shape(ratio))
    return Distance(
        key=key._replace(kind=Kind.ACTIVE_UNITS),
        order=order,
        distance=float(distance[worst]),
        floor=float(floor[worst]),
        size=float(rms(z, per_channel)[worst]),
        times_noise=float(ratio[worst]),
        shared=False,
    )
