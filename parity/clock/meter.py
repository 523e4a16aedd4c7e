"""What of the processors is used, by this process and by others."""

import time
from dataclasses import dataclass

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


def _busy() -> float:
    """Seconds of CPU time of the whole machine."""
    seen = psutil.cpu_times()
    idle = seen.idle + getattr(seen, "iowait", 0.0)
    guests = getattr(seen, "guest", 0.0) + getattr(seen, "guest_nice", 0.0)  # which user time holds as well
    return sum(seen) - idle - guests
