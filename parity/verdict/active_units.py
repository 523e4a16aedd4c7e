"""Units of a ReLU that rounding can switch.

A unit whose pre-activation is within rounding of 0 may be active on one side and not on the other. What follows from it
is continuous (activations, logits, losses, statistics) or jumps (gradients, and so updated weights).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from parity.verdict.compare import SAFETY, Distance
from parity.verdict.noise import Witness, rms
from parity.verdict.trace import Key, Kind


def can_switch(witness: Witness, pre_activations: Iterable[Key]) -> bool:
    """Return whether a unit of these pre-activations is so near to 0 that rounding can switch it."""
    tensors = witness.trace.tensors
    return not all(np.all(np.abs(tensors[key]) > SAFETY * np.max(witness.floors[key])) for key in pre_activations)


def compare_active_units(witness: Witness, key: Key, active: NDArray[np.bool_], order: int) -> Distance:
    """Return how far from 0 the witness's pre-activation is where a side disagrees on which units are active.

    The smallest error that switches these units is their own pre-activation; its RMS over all units is held against the
    floor, as that of any error is.

    Args:
        witness: the reference.
        key: of the pre-activation.
        active: of the side, of its shape.
        order: of the pre-activation.
    """
    z, floor = witness.trace.tensors[key], float(np.max(witness.floors[key]))
    distance = float(rms(np.where(active != (z > 0), z, 0.0)))
    return Distance(
        key=key._replace(kind=Kind.ACTIVE_UNITS),
        order=order,
        distance=distance,
        floor=floor,
        size=float(rms(z)),
        times_noise=distance / floor if floor else (0.0 if not distance else np.inf),
        shared=False,
    )
