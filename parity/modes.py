"""The ways of a framework to train, for a benchmark to time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to train that can be timed: a backend of the same framework whose `population` runs that way.

    Args:
        of: makes that backend of the framework's plain one.
        many: whether it trains many members; otherwise one.
        side_by_side: whether it trains a lane of members on each device or core.
        compiles: whether it has a compiler to wait for that costs far more than a run of it.
        loop: whether it is a plain loop of single updates, as in the lab.
    """

    of: Callable[[Any], Any]
    many: bool = False
    side_by_side: bool = False
    compiles: bool = False
    loop: bool = False


@dataclass(frozen=True)
class Modes:
    """What a benchmark needs of a framework.

    Args:
        named: its modes, by name.
        products: matrix products in a call of what `product` gives.
        product: for the shapes of two float32 operands, a function that multiplies them `products` times on one device,
            of a CPU one core, and waits.
        copy: for a number of bytes, a function that copies them on one device and waits.
        profile: for a population and indices, the operations of a pass with the seconds of each, the longest first.
        environment: devices, threads and flags, in words.
        forget: drops what the compiler keeps of the modes that have run, when none of them will run again.
    """

    named: Mapping[str, Mode]
    products: int
    product: Callable[[tuple[int, ...], tuple[int, ...]], Callable[[], None]]
    copy: Callable[[int], Callable[[], None]]
    profile: Callable[[Any, NDArray[np.integer]], list[tuple[str, float]]]
    environment: Mapping[str, str]
    forget: Callable[[], None] = lambda: None
