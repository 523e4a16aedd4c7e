"""How far long work is, on standard error: a bar on a terminal, plain lines elsewhere."""

import time
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_INTERVAL = 10.0  # seconds between two lines


class Progress(Protocol):
    """Shows how much of the whole is done, and what runs next."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def update(self, share: float, description: str) -> None:
        """Show that `share` of the estimated work is done (0 to 1), and that `description` comes next."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...


class SilentProgress:
    """Shows nothing: the library's default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, share: float, description: str) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""


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

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False)


class PlainProgress:
    """A line every ten seconds, for logs."""

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
        line = f"{share:4.0%} {description} ({elapsed:.0f} s elapsed{left})"
        self._console.print(line, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def console_progress(console: Console) -> Progress:
    """Return a bar for a terminal, plain lines for anything else."""
    return BarProgress(console) if console.is_terminal else PlainProgress(console)
