"""The other end of a side's process: it answers tasks until its parent is gone."""

import os
import select
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from parity.errors import InputError
from parity.process.errors import SideError, words_of


def main(descriptor: int) -> None:
    """Serve the parent, which holds the other end of a connection."""
    Thread(target=_end_with_parent, args=[descriptor], daemon=True).start()
    with suppress(EOFError, OSError):  # the parent is gone, perhaps in the middle of a message
        serve(Connection(descriptor))


def _end_with_parent(descriptor: int) -> None:
    """End this process when the parent is gone: a parent that was killed cannot end a child that hangs."""
    parent_is_gone = select.poll()
    parent_is_gone.register(descriptor, 0)
    parent_is_gone.poll()
    os.killpg(0, signal.SIGKILL)


def serve(connection: Connection) -> None:
    """Load the subject, then answer one task after the other."""
    load = connection.recv()
    try:
        subject = load()
    except InputError as error:
        connection.send((InputError, str(error)))
        return
    except BaseException as error:
        connection.send((SideError, words_of(error)))
        return
    connection.send((None, None))
    while True:
        try:
            task, arguments = connection.recv()
        except (EOFError, OSError):  # the parent is gone, perhaps in the middle of a message
            return
        try:
            answer: tuple[Any, Any] = None, task(subject, *arguments)
        except BaseException as error:  # anything that a side raises is an answer, SystemExit too
            answer = SideError, words_of(error)
        try:
            connection.send(answer)
        except ConnectionError:
            return
        except Exception as error:  # the answer holds an object that cannot be sent to another process
            connection.send((SideError, f"gave an answer that cannot be sent: {error}"))
