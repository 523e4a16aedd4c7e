"""What a command says on the terminal, and what becomes of it when nobody reads."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from parity.errors import one_line


def print_error(message: str) -> None:
    """Say in one line what is wrong."""
    print(f"bnparity: {one_line(message)}", file=sys.stderr)


def exit_status(interruption: KeyboardInterrupt) -> int:
    """What a shell expects of a command that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (interruption.args[0] if interruption.args else signal.SIGINT)


@contextmanager
def output_may_close() -> Iterator[None]:
    """Whoever reads our output may stop (`| head`): the rest is dropped, and the exit status stays what it is."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Who has gone must not be written to when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(draw: Callable[[Console], None]) -> None:
    """Print what `draw` draws on a console."""
    console = Console(markup=False)  # a framework may have a name like markup
    with console.capture() as captured:
        draw(console)
    with output_may_close():  # a console by itself would exit with status 1
        print(captured.get(), end="")
