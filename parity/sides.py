"""Backends that carry out tasks, each in a process of its own or, given as an object, in this one.

An object's hang is not caught.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

from parity.backend import Backend, as_backend, backend_names, load_backend
from parity.errors import InputError, choices
from parity.process import ProcessSide, Side, SideError, words_of


@dataclass(frozen=True, kw_only=True)
class SideSpec:
    """Which backend a side is, and how it is to run.

    Args:
        target: the name of a backend, "package.module:factory", or a backend itself.
        faults: names of replaced parts, as `with_fault` takes them.
        device: "cpu", "gpu", "tpu", or "" for the framework's own choice.
        precision: of float32 matrix products.
        time_limit: seconds that one answer may take; None for no limit.
        threads: for libraries that obey OpenMP's settings; the environment's own value comes first. The default is
            one: networks this small gain nothing from more, and two sides at once would compete for the cores.
        settings: further environment variables of its process, as (name, value).
        whole_machine: whether its process is set up to use every core (`own_process` of the backend).
        cache: a folder for what such a process compiles; "" for the user's own.
    """

    target: Any
    faults: tuple[str, ...] = ()
    device: str = ""
    precision: str = "highest"
    time_limit: float | None = 120.0
    threads: int = 1
    settings: tuple[tuple[str, str], ...] = ()
    whole_machine: bool = False
    cache: str = ""

    @property
    def name(self) -> str:
        """For people: the name of the target, and its faults."""
        target = self.target if isinstance(self.target, str) else getattr(self.target, "name", None)
        name = target or type(self.target).__name__
        return " with ".join([str(name), *self.faults])


def load_target(spec: SideSpec) -> Backend:
    """Return the backend of a side.

    Raises:
        InputError: no backend has this name, it cannot be loaded, or it does not take an option or a fault.
    """
    backend = as_backend(_load(spec), spec.name)
    for name in spec.faults:
        backend = backend.with_fault(name)
    return backend


def _load(spec: SideSpec) -> Any:
    if not isinstance(spec.target, str):
        return spec.target
    options = {"device": spec.device, "precision": spec.precision}
    wanted = {name: value for name, value in options.items() if value != SideSpec.__dataclass_fields__[name].default}
    if spec.target in backend_names():
        if spec.whole_machine:
            load_backend(spec.target).own_process(spec.cache)
        return load_backend(spec.target, **wanted)
    module, colon, attribute = spec.target.partition(":")
    if not (module and colon and attribute):
        remedy = choices(spec.target, (*backend_names(), "package.module:factory"))
        raise InputError(f"no backend is named {spec.target!r}; {remedy}")
    try:
        factory = getattr(importlib.import_module(module), attribute)
        return factory(**wanted)
    except Exception as error:  # a foreign module can raise anything
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
    side = start_process(spec)
    try:
        side.wait_until_ready()
        yield side
    finally:
        side.close()


def start_process(spec: SideSpec) -> ProcessSide:
    """Start the process of a side. It may not be ready yet: see `ProcessSide.wait_until_ready`."""
    load = partial(load_target, spec)
    return ProcessSide(spec.name, load, time_limit=spec.time_limit, threads=spec.threads, settings=spec.settings)


class ObjectSide:
    """A side that is an object of this process. Such sides take turns, since they share all global state."""

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
        except BaseException as error:  # anything that a side raises is an answer
            raise SideError(words_of(error)) from error
