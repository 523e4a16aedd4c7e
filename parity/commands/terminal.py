"""Write on the terminal, also when its reader has gone."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console

from parity.errors import InputError, one_line


def print_error(message: str) -> None:
    """Say in one line what is wrong."""
    with suppress(OSError):  # its reader has gone
        print(f"bnparity: {one_line(message)}", file=sys.stderr, flush=True)


def exit_status(interruption: KeyboardInterrupt) -> int:
    """What a shell expects of a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (interruption.args[0] if interruption.args else signal.SIGINT)


class ErrorConsole(Console):
    """Standard error. If its reader stops, nothing is written any more, and the work goes on."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Say nothing any more."""
        self.quiet = True
        _drop(sys.stderr)


@contextmanager
def output_may_close() -> Iterator[None]:
    """Allow the reader of our output to stop (`| head`): drop the rest, and keep the exit status."""
    try:
        yield
        if sys.stdout is not None:  # it may have been closed from the beginning
            sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)


def _drop(stream: TextIO | None) -> None:
    """Who has gone must not be written to when the interpreter ends."""
    assert stream is not None
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def show(draw: Callable[[Console], None]) -> None:
    """Print what `draw` draws on a console."""
    console = Console(markup=False)  # a framework may have a name like markup
    with output_may_close():  # a console by itself would exit with status 1
        try:
            with console.capture() as captured:
                draw(console)
            print(captured.get(), end="", flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:  # a full disk, say
            _drop(sys.stdout)
            raise InputError(f"standard output cannot be written: {error.strerror}; send it elsewhere") from error
