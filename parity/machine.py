"""What the machine offers to this process."""

import os


def usable_cores() -> int:
    """Cores that this process may run on, where the system tells; otherwise all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
