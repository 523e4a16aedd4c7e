"""What the machine offers to this process."""

import os
import subprocess
from typing import Any

CORES_VARIABLE = "BNPARITY_CORES"


def usable_cores() -> int:
    """Return the number of cores that this process may use: `BNPARITY_CORES`, the system's own limit, or all."""
    cores = os.environ.get(CORES_VARIABLE, "")
    if cores.isdecimal() and int(cores) > 0:
        return int(cores)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def current_commit() -> str:
    """Return the commit of the project in the working directory, with a `+` if files differ from it; "" if unknown."""
    # Neither a program that the project's own settings name is started, nor is another project taken for it.
    git = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CEILING" in name
    }
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": environment, "timeout": 5}
    try:
        found, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True, **options).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return f"{found}+" if changed else found


def bytes_in_words(count: float) -> str:
    """Bytes for people.

    >>> bytes_in_words(3 * 2**29), bytes_in_words(1020 * 2**20), bytes_in_words(2**14)
    ('1.5 GiB', '1020 MiB', '16 KiB')
    """
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
