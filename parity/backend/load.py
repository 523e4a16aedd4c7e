"""Finding backends by their entry points."""

import importlib.metadata
import inspect
from typing import Any

from parity.backend.base import Backend, as_backend
from parity.errors import InputError, choices

GROUP = "parity.backends"
DISTRIBUTION = "bnparity"
PACKAGE = "parity"


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the declared backends by name. Our own come last, so that no other package's entry takes their place."""
    entries = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: (_is_ours(entry), entry))
    return {entry.name: entry for entry in sorted({e.name: e for e in entries}.values())}


def _is_ours(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == DISTRIBUTION


def backend_names() -> tuple[str, ...]:
    """Return the names of the declared backends, from entry-point metadata: nothing is imported."""
    return tuple(_entry_points())


def sibling_names() -> tuple[str, ...]:
    """Return the frameworks that this distribution implements, without the NumPy reference: `both` means these."""
    return tuple(name for name, entry in _entry_points().items() if _is_ours(entry) and not _is_reference(entry))


def _is_reference(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.module.partition(".")[0] == PACKAGE


def load_backend(name: str, **options: Any) -> Backend:
    """Load a backend by name.

    Args:
        name: of its entry point.
        options: what its constructor takes; the siblings take `device` and `precision`.

    Raises:
        InputError: no such backend is declared, its framework is not installed (the message says which extra to
            install), or an option does not suit it.

    >>> load_backend("numpy").name
    'numpy'
    """
    entries = _entry_points()
    if name not in entries:
        raise InputError(f"no framework is named {name!r}; {choices(name, entries)}")
    entry = entries[name]
    try:
        make = entry.load()
        for option, value in options.items():
            _check_taken(make, name, option, value)
        return as_backend(make(**options), f"the entry point {name!r}")
    except InputError:
        raise
    except ModuleNotFoundError as error:
        missing = (error.name or "a module").partition(".")[0]
        raise InputError(
            f"the backend {name!r} needs {missing}, which is not installed; {_remedy(entry, missing)}"
        ) from error
    except Exception as error:  # an import or a constructor may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"the backend {name!r} cannot be loaded: {reason}; mend its installation or choose another --framework"
        ) from error


def _check_taken(make: Any, name: str, option: str, value: Any) -> None:
    try:
        inspect.signature(make).bind_partial(**{option: value})
    except TypeError:
        raise InputError(f"the backend {name!r} takes no {option}; leave it out") from None


def _remedy(entry: importlib.metadata.EntryPoint, missing: str) -> str:
    dist = entry.dist
    if dist is not None and entry.name in (dist.metadata.get_all("Provides-Extra") or ()):
        return f"install it with: pip install '{dist.name}[{entry.name}]'"
    return f"install {missing}"


def installed_siblings() -> tuple[str, ...]:
    """Return the siblings whose framework is installed.

    Raises:
        InputError: no framework is installed.
    """
    installed, problems = [], []
    for name in sibling_names():
        try:
            load_backend(name)
        except InputError as error:
            problems.append(str(error))
        else:
            installed.append(name)
    if not installed:
        raise InputError("no framework is installed: " + "; ".join(problems))
    return tuple(installed)
