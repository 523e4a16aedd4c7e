"""What the machine offers to this process."""

import os

CORES_VARIABLE = "BNPARITY_CORES"


def usable_cores() -> int:
    """Cores that this process may use: what `BNPARITY_CORES` says, where the system tells, or all there are."""
    told = os.environ.get(CORES_VARIABLE, "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
