"""What its maker says of a chip, and what follows for a program: the roofline.

Reference: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009.
"""

from dataclasses import dataclass

from parity.backend.compiler import Chips, Compiled
from parity.errors import InputError
from parity.spec import Precision

GIB = 2**30
# How often a chip multiplies bfloat16 numbers for one product of float32 numbers, which it cannot multiply itself.
PASSES = {"highest": 6, "tf32": 3, "bfloat16": 1}


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip, by the public tables of its maker.

    Args:
        name: of its kind.
        peak: bfloat16 operations a second.
        bandwidth: bytes a second, of its memory.
        memory: bytes.
    """

    name: str
    peak: float
    bandwidth: float
    memory: int


CHIPS = {
    chip.name: chip
    for chip in (
        Chip(name="v4", peak=275e12, bandwidth=1228e9, memory=32 * GIB),
        Chip(name="v5e", peak=197e12, bandwidth=819e9, memory=16 * GIB),
        Chip(name="v5p", peak=459e12, bandwidth=2765e9, memory=95 * GIB),
        Chip(name="v6e", peak=918e12, bandwidth=1640e9, memory=32 * GIB),
    )
}
COUNTS = (1, 4)


def parse_chips(words: str) -> Chips:
    """Return the chips that words name.

    >>> parse_chips("v5e:4")
    Chips(kind='v5e', count=4)

    Raises:
        InputError: they name none.
    """
    kind, colon, count = words.partition(":")
    if kind not in CHIPS or (colon and count not in map(str, COUNTS)):
        raise InputError(
            f"there are no chips {words!r}; give one of {', '.join(CHIPS)}, and for four of them :4, as v5e:4"
        )
    return Chips(kind=kind, count=int(count or 1))


@dataclass(frozen=True)
class Bound:
    """The least time of a program, in seconds, and what sets it: "products" or "memory"."""

    seconds: float
    by: str


def bound_of(chip: Chip, compiled: Compiled, dtype: str, precision: Precision) -> Bound:
    """Return the roofline bound of a program: what it takes at the least, with the operations of its compiler at the
    chip's peak rate, or to read its arguments and write its results once, whichever is longer.

    Products of float64 count as one pass, since how many a chip takes for them is the compiler's own affair.
    """
    passes = PASSES[precision] if dtype == "float32" else 1
    products, memory = compiled.operations * passes / chip.peak, compiled.least_bytes / chip.bandwidth
    return Bound(products, "products") if products > memory else Bound(memory, "memory")
