"""Whether the machine was the benchmark's own while it measured: only then are its figures to be trusted.

Four things tell. What others took of the cores while modes were timed. A *yardstick*, a fixed piece of work on all
cores at once, between one turn and the next: how much of the cores it got, and whether it always took the same time,
which a neighbour on the same chip or a lower clock changes too. And whether a mode takes the same time in its turns.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Protocol

import numpy as np

from parity.clock.meter import Meter, Use, own_cores
from parity.machine import usable_cores

# Of the machine, over all rows: a tenth of a core of two. The system counts in ticks, so that a row alone is not sure.
MOST_OF_OTHERS = 0.05
LEAST_SHARE = 0.9  # of the cores, for the yardstick
MOST_SLOWER = 1.1  # from one yardstick, or turn, to another
MOST_APART = 0.1  # of all rows, whose turns may differ: in a few of many they do by chance
YARDSTICK_SECONDS = 0.05
LOOKS = 3
BLOCK = bytes(2**20)


class Timed(Protocol):
    """Something that was timed; None where it was not."""

    @property
    def words(self) -> str:
        """What it is."""
        ...

    @property
    def samples_us(self) -> Sequence[float]:
        """Its times; the halves are of two turns."""
        ...

    @property
    def others(self) -> float | None:
        """How many cores others kept busy meanwhile."""
        ...


class Yardstick:
    """A piece of work for all cores, as long at its first time as `YARDSTICK_SECONDS`."""

    def __init__(self) -> None:
        self._cores, self._blocks = usable_cores(), 1
        while (seconds := self.measure().seconds) < YARDSTICK_SECONDS / 2:
            self._blocks *= 2
        self._blocks = max(1, round(self._blocks * YARDSTICK_SECONDS / seconds))

    def measure(self) -> Use:
        """Do the work once."""
        with ThreadPoolExecutor(self._cores) as pool:
            list(pool.map(_hash, [BLOCK] * self._cores))  # starts the threads
            meter = Meter()
            # In small pieces, which the cores take as they are free: not all need be equally fast.
            list(pool.map(_hash, [BLOCK] * (self._blocks * self._cores)))
            return meter.read()


def _hash(block: bytes) -> None:
    """Work of one thread, which holds no lock of Python's."""
    hashlib.sha256(block)


class Watch:
    """Notes during a benchmark whether the machine is its own."""

    def __init__(self, measure: Callable[[], Use] | None = None) -> None:
        self._measure = measure or Yardstick().measure
        self.yardsticks: list[Use] = []

    def look(self) -> None:
        """Measure the yardstick a few times, and keep the fastest: what passes in an instant is no other work.

        The fastest and not the one with most of the cores: a hypervisor's other guests make it slower, and its share
        of the cores stays the same.
        """
        self.yardsticks.append(min((self._measure() for _ in range(LOOKS)), key=lambda use: use.seconds))

    def doubts(self, rows: Sequence[Timed]) -> tuple[str, ...]:
        """Return why the figures are not to be trusted, each in words; none if they are."""
        return tuple(chain(self._of_others(rows), self._of_yardsticks(), _of_turns(rows)))

    def _of_others(self, rows: Sequence[Timed]) -> Iterator[str]:
        seen = [row.others for row in rows if row.others is not None]
        allowed = MOST_OF_OTHERS * len(own_cores())
        if seen and (mean := float(np.mean(seen))) > allowed:
            most = max(rows, key=lambda row: row.others or 0.0)
            yield (
                f"others took {mean:.2g} cores while the rows were timed ({allowed:.2g} is allowed), and "
                f"{most.others:.2g} while {most.words} was"
            )

    def _of_yardsticks(self) -> Iterator[str]:
        if not self.yardsticks:
            return
        shares = [use.own / usable_cores() for use in self.yardsticks]
        if min(shares) < LEAST_SHARE:
            yield f"work for all cores got as little as {min(shares):.0%} of them ({LEAST_SHARE:.0%} is the least)"
        times = [1e3 * use.seconds for use in self.yardsticks]
        if max(times) > MOST_SLOWER * float(np.median(times)):
            yield (
                f"one and the same work took from {min(times):.0f} to {max(times):.0f} ms, {np.median(times):.0f} for "
                f"the most part ({MOST_SLOWER:g} times that is allowed)"
            )


def _of_turns(rows: Sequence[Timed]) -> Iterator[str]:
    apart = [are_apart(row.samples_us) for row in rows if row.samples_us]
    if sum(apart) > MOST_APART * len(apart):
        yield f"in {sum(apart)} of {len(apart)} rows the two turns differ ({MOST_APART:.0%} of them may)"


def are_apart(samples: Sequence[float]) -> bool:
    """Return whether the two turns of a mode, the halves of its samples, differ: no sample of one is within the other,
    and their medians are more than `MOST_SLOWER` apart.
    """
    half = len(samples) // 2
    low, high = sorted((samples[:half], samples[half:]), key=lambda turn: float(np.median(turn)))
    return max(low) < min(high) and float(np.median(high)) > MOST_SLOWER * float(np.median(low))
