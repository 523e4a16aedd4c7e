"""What of the processors is used, by this process and by others."""

import ctypes
import gc
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Use:
    """What a stretch of time used of the processors, in cores.

    Args:
        seconds: that passed.
        own: CPU time of this process over time.
        others: the same of everything else, time that a hypervisor took for its other guests among it.
    """

    seconds: float
    own: float
    others: float


class Meter:
    """Measures what is used from when it is made."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time(), _busy()

    def read(self) -> Use:
        """Return what was used since."""
        now = time.perf_counter(), time.process_time(), _busy()
        wall, own, busy = (end - begin for begin, end in zip(self._start, now, strict=True))
        return Use(wall, own / wall, max(0.0, busy - own) / wall)


def own_cores() -> list[int]:
    """Return the numbers of the cores on which this process may run: what others do on the rest does not disturb it."""
    every = range(psutil.cpu_count() or 1)
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(every)


def _busy() -> float:
    """Seconds of CPU time of these cores."""
    seen = psutil.cpu_times(percpu=True)
    return sum(_busy_of(seen[core]) for core in own_cores() if core < len(seen))


def _busy_of(core: Any) -> float:
    idle = core.idle + getattr(core, "iowait", 0.0)
    guests = getattr(core, "guest", 0.0) + getattr(core, "guest_nice", 0.0)  # which user time holds as well
    return float(sum(core) - idle - guests)


class Memory:
    """The most memory that this process holds from now on, less what it holds now; only Linux tells that."""

    def __init__(self) -> None:
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # what is free already would be used again unseen
        self._base = psutil.Process().memory_info().rss
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._can_tell = True
        except OSError:
            self._can_tell = False

    def peak(self) -> int | None:
        """Return the peak since then in bytes, if it can be told."""
        if not self._can_tell:
            return None
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return None if found is None else max(0, 1024 * int(found[1]) - self._base)
