"""The other end of a side's process: answers tasks until the check is gone."""

import os
import select
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from parity.check.sides import SideError, load_target, words_of
from parity.errors import InputError


def main(descriptor: int) -> None:
    """Serve the check that holds the other end of a connection."""
    Thread(target=_end_with_check, args=[descriptor], daemon=True).start()
    with suppress(EOFError, OSError):  # the check is gone, in the middle of a message perhaps
        serve(Connection(descriptor))


def _end_with_check(descriptor: int) -> None:
    """A check that was killed cannot end a side that hangs."""
    check_is_gone = select.poll()
    check_is_gone.register(descriptor, 0)
    check_is_gone.poll()
    os.killpg(0, signal.SIGKILL)


def serve(connection: Connection) -> None:
    """Load the backend, then answer one task after the other."""
    spec = connection.recv()
    try:
        backend = load_target(spec)
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
        except (EOFError, OSError):  # the check is gone, in the middle of a message perhaps
            return
        try:
            answer: tuple[Any, Any] = None, task(backend, *arguments)
        except BaseException as error:  # whatever a side raises is an answer, a call of sys.exit too
            answer = SideError, words_of(error)
        try:
            connection.send(answer)
        except ConnectionError:
            return
        except Exception as error:  # an answer that holds what no process can hand to another
            connection.send((SideError, f"gave an answer that cannot be sent: {error}"))
