"""What the machine offers to this process."""

import os

CORES_VARIABLE = "BNPARITY_CORES"


def usable_cores() -> int:
    """Return the number of cores that this process may use: `BNPARITY_CORES`, the system's own limit, or all."""
    cores = os.environ.get(CORES_VARIABLE, "")
    if cores.isdecimal() and int(cores) > 0:
        return int(cores)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
