"""A number that a model is run with, solved from what another shows: by secants."""

from collections.abc import Callable

import numpy as np

from parity.pair.what_if import tidy
from parity.verdict.trace import Array

MOST_STEPS = 16
FIRST_STEP = 0.1  # of the number
SMALLEST = 1e-6  # the first step from 0
NEAR = 1e-12  # of a size: rounding
CLOSER = 0.81  # the part of a square that may be left over after a step that explains something
MOST_VAIN = 1  # steps in a row that explain nothing more


def fitted(start: float, show: Callable[[float], Array | None], own: Array, target: Array) -> float | None:
    """Solve `show(value) = target`, in the sense of least squares; None if the value does not explain the target.

    Args:
        start: the value with which `own` is shown.
        show: what is shown with a value; None if nothing.
        own: what is shown at the start.
        target: what is to be shown.
    """
    scale = abs(start) or SMALLEST
    last, shown, best, vain = start, own, np.inf, 0
    value = start * (1 + FIRST_STEP) if start else SMALLEST
    for _ in range(MOST_STEPS):
        here = show(value)
        if here is None or here.shape != target.shape:
            return None
        if not np.isfinite(here).all():
            value = tidy((value + last) / 2)  # too far: a root of what is negative, say
            continue
        slope, rest = (here - shown) / (value - last), target - here
        square = float(slope @ slope)
        # Where nothing but rounding is left, the slope explains none of it.
        is_near = rest @ rest <= NEAR**2 * (target @ target)
        if not square:
            return value if is_near else None
        ahead = float(slope @ rest) / square
        vain = 0 if rest @ rest <= CLOSER * best else vain + 1
        best = min(best, float(rest @ rest))
        if vain > MOST_VAIN and not is_near:
            return None
        last, shown, value = value, here, tidy(value + ahead)
        if abs(value) <= NEAR * scale:
            value = 0.0
        if abs(value - last) <= NEAR * scale:
            return value
    return value
