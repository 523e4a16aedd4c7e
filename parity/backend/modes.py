"""The modes of training that a benchmark times."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A mode of training: a backend of the same framework whose `population` trains in that mode.

    Args:
        of: makes that backend from the framework's plain one.
        many: whether it trains many members; otherwise one.
        side_by_side: whether it trains a lane of members on each device or core.
        compiles: whether its compilation takes far longer than a run.
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
        products: the number of matrix products in one call of the function that `product` returns.
        product: takes the shapes of two float32 operands and returns a function that multiplies them `products` times
            on one device (one core of a CPU) and waits.
        copy: takes a number of bytes and returns a function that copies them on one device and waits.
        profile: takes a population and indices and returns the operations of a pass with the seconds of each, the
            longest first.
        environment: devices, threads and flags, in words.
        forget: drops what the compiler keeps of finished modes, when none of them will run again.
    """

    named: Mapping[str, Mode]
    products: int
    product: Callable[[tuple[int, ...], tuple[int, ...]], Callable[[], None]]
    copy: Callable[[int], Callable[[], None]]
    profile: Callable[[Any, NDArray[np.integer]], list[tuple[str, float]]]
    environment: Mapping[str, str]
    forget: Callable[[], None] = lambda: None
