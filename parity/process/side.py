"""A subject in a process of its own: its settings, crash or hang do not reach this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.reduction import ForkingPickler
from threading import Lock
from typing import Any, Protocol

from parity.errors import InputError
from parity.process.errors import SideEndedError, SideError, SideHungError, StartError, words_of

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The child uses this process's search path from its first import on. With `-m`, the working directory would come first.
START = "import sys; sys.path[:] = sys.argv[2:]; from parity.process.worker import main; main(int(sys.argv[1]))"
LONGEST_WAIT = 2e6  # seconds; the system cannot wait longer at once


class Side(Protocol):
    """A subject that has been loaded, here or in another process, and carries out tasks."""

    name: str

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """Return `task(subject, *arguments)`, carried out where the subject is.

        Raises:
            SideError: it raised, died or gave no answer in time.
        """
        ...


def _thread_settings(threads: int) -> dict[str, str]:
    """None where the user has set OpenMP's or MKL's: libraries that have no setting of their own go by OpenMP's."""
    is_set = "OMP_NUM_THREADS" in os.environ or "MKL_NUM_THREADS" in os.environ
    return {} if is_set else dict.fromkeys(THREAD_SETTINGS, str(threads))


class ProcessSide:
    """A side in a process of its own. Ending it also ends the processes that it has started.

    The child looks for modules where this process looks, and then in the working directory. Its standard output goes
    to standard error; its standard input is empty.

    Args:
        name: for people.
        load: returns the subject; it is sent to the child and called there.
        time_limit: seconds that one answer may take; None for no limit.
        threads: for libraries that read `THREAD_SETTINGS`, but where the environment has OpenMP's or MKL's.
        settings: further environment variables of the child, as (name, value).
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Any],
        *,
        time_limit: float | None = None,
        threads: int = 1,
        settings: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.name, self.time_limit = name, time_limit
        self._load, self._turn, self._reaping = load, Lock(), Lock()
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs.fileno()), *sys.path, ""],
            pass_fds=[theirs.fileno()],
            env={**_thread_settings(threads), **os.environ, **dict(settings)},
            stdin=subprocess.DEVNULL,
            stdout=2,
            process_group=0,  # Ctrl-C reaches only this process, which then ends the child
        )
        theirs.close()

    def wait_until_ready(self) -> None:
        """Have the child load its subject.

        Raises:
            InputError: it cannot: `StartError` if its process ended or hung.
        """
        try:
            self._send(self._load)
            self._answer()
        except SideError as error:
            kind = StartError if isinstance(error, SideEndedError | SideHungError) else InputError
            raise kind(f"{self.name} cannot be started: it {error}") from error

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """See `Side.call`. Threads that call at once take turns, and each gets its own answer."""
        with self._turn:
            self._send((task, arguments))
            return self._answer()

    def _send(self, question: Any) -> None:
        with suppress(OSError):  # the child has ended; `_answer` reports that
            self._connection.send(question)

    def _answer(self) -> Any:
        try:
            limit = None if self.time_limit is None else min(self.time_limit, LONGEST_WAIT)
            if not self._connection.poll(limit):
                self.close()
                raise SideHungError(f"gave no answer within the time limit of {limit:g} s, and was ended")
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            raise SideEndedError(_ending(self._wait())) from None
        try:
            kind, value = ForkingPickler.loads(answer)  # pyright: ignore[reportAttributeAccessIssue]
        except Exception as error:  # a foreign class can raise anything while it is rebuilt here
            raise SideError(f"gave an answer that cannot be read: {words_of(error)}") from None
        if kind is not None:
            raise kind(value)
        return value

    def kill(self) -> None:
        """End the process, and those that it has started; a pending `call` then raises `SideEndedError`."""
        with self._reaping:
            if self._process.returncode is None:  # else its number may be another process's by now
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, and release what it held."""
        self.kill()
        self._wait()
        self._connection.close()

    def _wait(self) -> int:
        """Wait until the process has ended, end those that it has started, and return its exit status."""
        with suppress(
            ChildProcessError, AttributeError
        ):  # it is reaped already; macOS has no waitid before Python 3.13
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        with self._reaping:
            return self._process.wait()


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    with suppress(ValueError):  # a real-time signal has no name
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"
