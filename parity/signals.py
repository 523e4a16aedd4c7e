"""Ctrl-C and SIGTERM end long work, also where Python loses the exception."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from parity.progress import Progress


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or SIGTERM, during long work. `report` holds what was done by then."""

    def __init__(self, report: Any, *signal_number: int) -> None:
        super().__init__(*signal_number)
        self.report = report


DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}  # Python's own handlers


@contextmanager
def handle_signals(progress: Progress) -> Iterator[Progress]:
    """Raise `KeyboardInterrupt`, with the signal's number as its argument, on SIGINT and SIGTERM.

    Python cannot raise out of a callback that a framework has registered (with the garbage collector, say): it prints
    the exception there and goes on. The progress that this yields therefore raises it again at its next `update`. A
    second signal ends the process at once.

    Args:
        progress: to be wrapped.
    """
    watching = _Interruptible(progress)
    main_thread = threading.current_thread() is threading.main_thread()  # no other thread may set a handler
    # Leave any other handler alone: nohup ignores a signal on purpose, and a caller may handle one itself.
    ours = {number: own for number, own in DEFAULTS.items() if main_thread and signal.getsignal(number) == own}
    for number in ours:
        signal.signal(number, watching.note)
    try:
        yield watching
    finally:
        for number, own in ours.items():
            signal.signal(number, own)


class _Interruptible:
    """A progress that raises the interruption again."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._signal = progress, 0

    def note(self, signum: int, frame: FrameType | None) -> None:
        if self._signal:  # the second signal; ending here is safe, since files are replaced whole
            os._exit(128 + signum)
        self._signal = signum
        raise KeyboardInterrupt(signum)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.__exit__(*exception)

    def update(self, share: float, description: str) -> None:
        if self._signal:
            raise KeyboardInterrupt(self._signal)
        self._progress.update(share, description)

    def say(self, text: str) -> None:
        self._progress.say(text)
