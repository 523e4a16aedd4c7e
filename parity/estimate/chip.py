"""What its maker says of a chip, and what follows for a program: the roofline.

Reference: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009.
"""

from dataclasses import dataclass

from parity.backend.compiler import Chips, Compiled
from parity.errors import InputError

GIB = 2**30


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
    kind, colon, count = words.partition(":") if isinstance(words, str) else ("", "", "")
    if kind not in CHIPS or (colon and count not in map(str, COUNTS)):
        raise InputError(
            f"there are no chips {words!r}; give one of {', '.join(CHIPS)}, and for four of them :4, as v5e:4"
        )
    return Chips(kind=kind, count=int(count or 1))


@dataclass(frozen=True)
class Roofline:
    """Seconds, and what sets them: "operations" or "memory"."""

    seconds: float
    by: str


def roofline_of(chip: Chip, compiled: Compiled) -> Roofline:
    """Return the roofline of a program: its operations at the chip's peak rate, each in one pass, or every argument
    read and every result written once through the chip's memory, whichever takes longer.

    A float32 product at the highest precision takes six passes. What stays on the chip from one run to the next, and
    what of a table is not looked up, need not be read; so a program can be faster than the second.
    """
    computing, moving = compiled.operations / chip.peak, compiled.least_bytes / chip.bandwidth
    return Roofline(computing, "operations") if computing > moving else Roofline(moving, "memory")
