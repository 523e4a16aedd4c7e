"""A pair as a user writes it: a Python file, or a module, with `reference()`, `candidate()` and `inputs`.

It is run in this process for what the two share, and in each side's own process for its model. So a file that imports
its frameworks within the two functions needs only one of them in each process.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.backend.port import Port
from parity.errors import InputError
from parity.pair.guard import Guarded
from parity.process import ProcessSide, words_of

SIDES = ("reference", "candidate")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a pair's two sides share.

    Args:
        title: what it is called.
        inputs, accept, weights, lift_float32, where, layouts, steps: see `parity.compare`.
    """

    inputs: Any
    title: str = ""
    accept: tuple[str, ...] = ()
    weights: Any = None
    lift_float32: bool = False
    where: Any = None
    layouts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    steps: int = 3

    def __post_init__(self) -> None:
        is_list = isinstance(self.accept, Iterable) and not isinstance(self.accept, str)
        if not is_list or not all(isinstance(each, str) for each in self.accept):
            raise InputError(f"accept must be a list of NAME@PLACE, got {self.accept!r}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise InputError(f"steps must be a whole number from 0 on, got {self.steps!r}")
        if not isinstance(self.layouts, Mapping):
            raise InputError(f"layouts must be a dictionary of axes by name, got {self.layouts!r}")
        for name, axes in self.layouts.items():
            if not isinstance(axes, Sequence) or sorted(axes) != list(range(len(axes))):
                raise InputError(f"layouts: the axes of {name!r} must be an order of 0, 1, 2 and so on, got {axes!r}")


OPTIONAL = tuple(each.name for each in fields(Pair) if each.name not in ("inputs", "title"))


def read_pair(source: str) -> Pair:
    """Run a pair's file, or import its module.

    Raises:
        InputError: it cannot be, or it lacks something.
    """
    module = _module(source)
    for name in SIDES:
        if not callable(getattr(module, name, None)):
            raise InputError(
                f"{source} has no function {name!r}; a pair has reference() and candidate(), which return ports of "
                "the two models, and inputs"
            )
    if not hasattr(module, "inputs"):
        raise InputError(
            f'{source} has no inputs; give a dictionary, such as inputs = {{"x": parity.normal(8, 3, 32, 32)}}'
        )
    title = (module.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    given = {name: getattr(module, name) for name in OPTIONAL if hasattr(module, name)}
    try:
        return Pair(inputs=module.inputs, title=title or source, **given)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _module(source: str) -> ModuleType:
    try:
        if source.endswith(".py"):
            path = Path(source)
            if not path.is_file():
                raise InputError(f"there is no file {source!r}; give a pair's file, or the name of its module")
            return _run(path)
        return importlib.import_module(source)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        if error.name == source:
            raise InputError(f"there is no module {source!r}; give a pair's file (pair.py), or its module") from error
        raise InputError(f"{source} needs {error.name}, which is not installed: {words_of(error)}") from error
    except (Exception, SystemExit) as error:  # the user's own code
        raise InputError(f"{source} cannot be read: it {words_of(error)}") from error


def _run(path: Path) -> ModuleType:
    """Run a file as a module; what lies beside it can be imported."""
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(f"_pair_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def load_port(source: str, side: str) -> Port:
    """Make one side's port.

    Raises:
        InputError: it cannot be made.
    """
    make = getattr(_module(source), side)
    try:
        port = make()
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"{side}() of {source} needs {error.name}, which is not installed") from error
    except Exception as error:  # the user's own code
        raise InputError(f"{side}() of {source} {words_of(error)}") from error
    if not isinstance(port, Port):
        raise InputError(
            f"{side}() of {source} returned {type(port).__name__}; it must return a port, as the function port() of a "
            "framework's package makes one of a model"
        )
    return port


@contextmanager
def open_ports(source: str, threads: int = 1) -> Iterator[tuple[Guarded, Guarded]]:
    """Start a process for each side, and end them afterwards.

    Args:
        source: the pair's file or module.
        threads: that each side uses.

    Raises:
        InputError: a side cannot start.
    """
    with ExitStack() as stack:
        sides = []
        for name in SIDES:
            side = ProcessSide(f"the {name} of {source}", partial(load_port, source, name), threads=threads)
            stack.callback(side.close)
            sides.append(side)
        for side in sides:
            side.wait_until_ready()
        reference, candidate = (Guarded(name, side) for name, side in zip(SIDES, sides, strict=True))
        yield reference, candidate
