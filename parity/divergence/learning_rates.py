"""A grid of learning rates."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from parity.errors import InputError
from parity.spec import check_count, check_real, use_python_values

MOST_RATES = 1000  # beyond it a value is a slip of the finger


@dataclass(frozen=True)
class LearningRates:
    """`count` learning rates, evenly spaced on a log scale from `low` to `high`, both included.

    Raises:
        InputError: unless `0 < low < high` and `count >= 2`.

    >>> LearningRates.parse("0.01:1:3").values()
    (0.01, 0.1, 1.0)
    """

    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        use_python_values(self)
        check_real("the lowest learning rate", self.low, above=0, why="a log scale starts above 0")
        check_real("the highest learning rate", self.high, above=0, why="a log scale starts above 0")
        if not self.low < self.high:
            raise InputError(f"learning rates LOW:HIGH:COUNT must rise (LOW below HIGH), got {self}; swap the ends")
        check_count("the number of learning rates", self.count, 2, "a grid needs both of its ends", MOST_RATES)
        if len(set(self.values())) < self.count:
            raise InputError(f"learning rates {self} lie too close together to differ; use fewer or a wider range")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `LOW:HIGH:COUNT`, such as `0.001:10:9`."""
        try:
            low, high, count = text.split(":")
            return cls(float(low), float(high), int(count))
        except InputError:
            raise
        except ValueError:
            raise InputError(f"learning rates must be LOW:HIGH:COUNT, such as 0.001:10:9, got {text!r}") from None

    def __str__(self) -> str:
        return ":".join((repr(self.low).removesuffix(".0"), repr(self.high).removesuffix(".0"), str(self.count)))

    def values(self) -> tuple[float, ...]:
        """The learning rates, rising."""
        return tuple(float(value) for value in np.geomspace(self.low, self.high, self.count))


def geometric_mean(low: float, high: float) -> float:
    """Return the middle of two learning rates on a log scale.

    >>> geometric_mean(1.0, 4.0)
    2.0
    """
    return math.sqrt(low) * math.sqrt(high)
