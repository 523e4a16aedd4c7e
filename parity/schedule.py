"""How blocks of a population are shared out to devices, when there are more blocks than devices."""

from collections.abc import Iterator
from itertools import pairwise


def share_out(blocks: int, devices: int, updates: int) -> Iterator[tuple[list[tuple[int, int]], int]]:
    """Who trains what and when, so that every device is busy until the end.

    As long as there are enough, each device trains a block in one go. If the number of blocks does not divide, the last
    are laid end to end and cut into equal parts, one for each device. A block that is cut makes its first updates at
    the very start of the one device's time, and the others at the very end of the other's: these never overlap, since a
    block alone is no longer than a part. (McNaughton, 1959, "Scheduling with deadlines and loss functions".)

    Args:
        blocks: their number, at least `devices`.
        devices: their number.
        updates: that each block is to make.

    Yields:
        For each device a block and its first update, and how many updates to make. A device that has nothing left to
        do does what the first one does.
    """
    whole = blocks // devices - (blocks % devices > 0)
    for first in range(0, whole * devices, devices):
        yield [(first + device, 0) for device in range(devices)], updates
    first, last = whole * devices, blocks - whole * devices
    if last:
        for work, count in _cut(last, devices, updates):
            yield [(first + block, start) for block, start in work], count


def _cut(blocks: int, devices: int, updates: int) -> Iterator[tuple[list[tuple[int, int]], int]]:
    """`share_out` with cuts wherever a part ends."""
    part = -(-blocks * updates // devices)
    ends = {block * updates - device * part for device in range(devices) for block in range(blocks + 1)}
    for now, then in pairwise(sorted({0, part, *(end for end in ends if 0 < end < part)})):
        work = []
        for device in range(devices):
            block, place = divmod(device * part + now, updates)
            begins, ends_at = block * updates - device * part, (block + 1) * updates - device * part
            if begins < 0:  # cut, and this is the end that comes first in time
                place = now
            elif ends_at > part:
                place += ends_at - part
            work.append((block, place) if block < blocks else work[0])
        yield work, then - now
