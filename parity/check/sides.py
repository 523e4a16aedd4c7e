"""The two sides of a check, each in a process of its own, so that neither's settings, crash or hang reaches the other.

A side given as an object runs in this process; then its hang is not caught.
"""

import importlib
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from threading import Lock
from traceback import walk_tb
from typing import Any, Protocol

from parity.backend import Backend, backend_names, load_backend, own_process
from parity.errors import InputError


class SideError(Exception):
    """A side raised, hung, or answered what is no answer; the message says which."""


class SideEndedError(SideError):
    """The process of a side ended by itself."""


class SideHungError(SideError):
    """A side gave no answer in time, and its process was ended."""


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """Which backend a side is, and how it is to run.

    Args:
        target: the name of a backend, "package.module:factory", or a backend itself.
        faults: replaced parts, as (name, values) of `with_fault`.
        device: "cpu", "gpu", "tpu", or "" for the framework's own choice.
        precision: of float32 matrix products.
        time_limit: seconds that one answer may take; None for no limit.
        threads: of the libraries that take OpenMP's word for it, where the environment says nothing.
        settings: further variables of its process's environment, by name.
        whole_machine: whether its process is set up to use every core (`own_process` of the backend).
    """

    target: Any
    faults: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    device: str = ""
    precision: str = "highest"
    time_limit: float | None = 120.0
    threads: int = 1
    settings: tuple[tuple[str, str], ...] = ()
    whole_machine: bool = False

    @property
    def name(self) -> str:
        """For people: the name of the target, and its faults."""
        target = self.target if isinstance(self.target, str) else getattr(self.target, "name", None)
        name = target or type(self.target).__name__
        return " with ".join([str(name), *(fault for fault, _ in self.faults)])


class Side(Protocol):
    """A side that has been started."""

    name: str

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """`task(backend, *arguments)`, where the backend is.

        Raises:
            SideError: it raised, died or gave no answer in time.
        """
        ...


def load_target(spec: SideSpec) -> Backend:
    """The backend of a side.

    Raises:
        InputError: there is none, or it cannot be loaded, or it does not take an option or a fault.
    """
    backend = _load(spec)
    if isinstance(backend, type) or not callable(getattr(backend, "learner", None)):
        kind = "the class" if isinstance(backend, type) else "an object of type"
        name = backend.__name__ if isinstance(backend, type) else type(backend).__name__
        raise InputError(
            f"{spec.name} is no backend but {kind} {name}; "
            "it must be an object with the method learner(spec, weights, dtype), see parity.backend.Backend"
        )
    for name, values in spec.faults:
        if not hasattr(backend, "with_fault"):
            raise InputError(f"{spec.name} is not assembled from replaceable parts, so it takes no fault")
        backend = backend.with_fault(name, **dict(values))
    return backend


def _load(spec: SideSpec) -> Any:
    if not isinstance(spec.target, str):
        return spec.target
    options = {"device": spec.device, "precision": spec.precision}
    wanted = {name: value for name, value in options.items() if value != SideSpec.__dataclass_fields__[name].default}
    if spec.target in backend_names():
        if spec.whole_machine:
            own_process(spec.target)
        return load_backend(spec.target, **wanted)
    module, colon, attribute = spec.target.partition(":")
    if not (module and colon and attribute):
        choices = ", ".join(backend_names())
        raise InputError(
            f"no backend is named {spec.target!r}; choose one of {choices}, or give package.module:factory"
        )
    try:
        factory = getattr(importlib.import_module(module), attribute)
        return factory(**wanted)
    except Exception as error:  # whatever someone else's module raises
        raise InputError(f"{spec.target!r} cannot be loaded: it {words_of(error)}") from error


@contextmanager
def open_side(spec: SideSpec) -> Iterator[Side]:
    """Start a side, and end it afterwards.

    Raises:
        InputError: it cannot start.
    """
    if not isinstance(spec.target, str):
        yield ObjectSide(spec)
        return
    side = ProcessSide(spec)
    try:
        side.wait_until_ready()
        yield side
    finally:
        side.close()


class ObjectSide:
    """A side that is an object of this process. Such sides take turns: they share whatever is global."""

    _turn = Lock()

    def __init__(self, spec: SideSpec) -> None:
        self.name = spec.name
        self._backend = load_target(spec)

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """See `Side.call`."""
        try:
            with self._turn:
                return task(self._backend, *arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a side raises is an answer
            raise SideError(words_of(error)) from error


# One thread by default: networks this small gain nothing from more, and two sides at once would fight for the cores.
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The child imports from where this process does, from its first import on: `-m` would put the working directory first.
START = "import sys; sys.path[:] = sys.argv[2:]; from parity.check.worker import main; main(int(sys.argv[1]))"
LONGEST_WAIT = 2e6  # seconds: what the system can wait for at once
LONGEST_WORDS = 1000
STANDARD_LIBRARY = sysconfig.get_path("stdlib")


class StartError(InputError):
    """The process of a side ended, or hung, before it could answer."""


class ProcessSide:
    """A side in a process of its own, which it ends together with the processes that it has started.

    Modules are looked for where this process looks, and then in the working directory. What the side prints goes to
    standard error; its standard input is empty.
    """

    def __init__(self, spec: SideSpec) -> None:
        self.name, self.time_limit = spec.name, spec.time_limit
        self._spec, self._turn = spec, Lock()
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs.fileno()), *sys.path, ""],
            pass_fds=[theirs.fileno()],
            env={**dict.fromkeys(THREAD_SETTINGS, str(spec.threads)), **os.environ, **dict(spec.settings)},
            stdin=subprocess.DEVNULL,
            stdout=2,
            process_group=0,  # Ctrl-C is the check's, which then ends this one
        )
        theirs.close()

    def wait_until_ready(self) -> None:
        """Have it load its backend.

        Raises:
            InputError: it cannot: `StartError` if its process ended or hung.
        """
        try:
            self._send(self._spec)
            self._answer()
        except SideError as error:
            kind = StartError if isinstance(error, SideEndedError | SideHungError) else InputError
            raise kind(f"{self.name} cannot be started: it {error}") from error

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """See `Side.call`. Threads that ask at once take turns, and each gets its own answer."""
        with self._turn:
            self._send((task, arguments))
            return self._answer()

    def _send(self, question: Any) -> None:
        with suppress(OSError):  # it has ended, which is what the answer will say
            self._connection.send(question)

    def _answer(self) -> Any:
        try:
            limit = None if self.time_limit is None else min(self.time_limit, LONGEST_WAIT)
            if not self._connection.poll(limit):
                self.close()
                raise SideHungError(f"gave no answer within the time limit of {limit:g} s, and was ended")
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            raise SideEndedError(_ending(self._process.wait())) from None
        except SideError:
            raise
        except Exception as error:  # whatever someone else's class does when it is rebuilt here
            raise SideError(f"gave an answer that cannot be read: {words_of(error)}") from None
        if kind is not None:
            raise kind(value)
        return value

    def kill(self) -> None:
        """End the process, and those that it has started; whoever waits for an answer is told so."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, and give back what it held."""
        self.kill()
        self._process.wait()
        self._connection.close()


def _ending(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"


def words_of(error: BaseException) -> str:
    """Say in one line what a side did wrong, and where in its own code; a long message is cut."""
    words = "misbehaved: " if isinstance(error, SideError) else f"raised {type(error).__name__}: "
    try:
        line = " ".join(f"{words}{error}".split())
    except Exception:  # a message that cannot be told
        line = words.rstrip(": ")
    cut = line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]} ..."
    return cut + _place_of(error)


def _place_of(error: BaseException) -> str:
    """Say where a side raised: file, line and method of the innermost frame of its own code; "" if it has none.

    The first frame outside this package is the side's. Its own code is all of that frame's top-level module, and what
    lies neither in the standard library nor among installed packages.
    """
    frames = [
        (f.f_code, line, f.f_globals.get("__name__", "").partition(".")[0]) for f, line in walk_tb(error.__traceback__)
    ]
    outside = [frame for frame in frames if frame[2] != __name__.partition(".")[0]]
    own = [frame for frame in outside if frame[2] == outside[0][2] or not _is_library(frame[0].co_filename)]
    if not own or _is_standard(own[-1][0].co_filename):
        return ""
    code, line, _ = own[-1]
    path = os.path.relpath(code.co_filename)
    return f" (at {code.co_filename if path.startswith(os.pardir) else path}:{line}, in {code.co_qualname})"


def _is_standard(path: str) -> bool:
    return path.startswith("<") or (path.startswith(STANDARD_LIBRARY) and not _is_installed(path))


def _is_library(path: str) -> bool:
    return _is_standard(path) or _is_installed(path)


def _is_installed(path: str) -> bool:
    return "site-packages" in path or "dist-packages" in path
