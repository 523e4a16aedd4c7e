"""How far a sweep is, on standard error: a bar on a terminal, plain lines elsewhere."""

import time
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_INTERVAL = 10.0  # seconds between two lines


class Progress(Protocol):
    """Told what is about to run and how much of the whole is done."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def update(self, share: float, description: str) -> None:
        """`share` of the estimated work is done (0 to 1), and `description` comes next."""
        ...


class SilentProgress:
    """Says nothing: the library's default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, share: float, description: str) -> None:
        """Say nothing."""


class BarProgress:
    """A bar with the time elapsed and the time left, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def update(self, share: float, description: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=share, description=description)


class PlainProgress:
    """A line every few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console, self._start, self._last = console, time.monotonic(), -PLAIN_INTERVAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, share: float, description: str) -> None:
        """Print a line, unless the last is recent."""
        elapsed = time.monotonic() - self._start
        if elapsed - self._last < PLAIN_INTERVAL and share < 1:
            return
        self._last = elapsed
        left = f", about {elapsed * (1 - share) / share:.0f} s left" if share > 0 else ""
        self._console.print(f"{share:4.0%} {description} ({elapsed:.0f} s elapsed{left})", highlight=False)


def console_progress(console: Console) -> Progress:
    """The form that suits where the console writes."""
    return BarProgress(console) if console.is_terminal else PlainProgress(console)
