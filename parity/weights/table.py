"""Tables from neutral names to a framework's own."""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

import numpy as np

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.names import Weights, weight_shapes


def check_names(names: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Return a table that names every tensor of a network once, with a path that is a list (JSON's) as a tuple.

    Raises:
        InputError: it is no table, or lists what is missing, unexpected or named twice.
    """
    if not isinstance(names, Mapping):
        raise InputError(f"a table of names must be a dictionary by neutral name, got {type(names).__name__}")
    table = {name: tuple(own) if isinstance(own, list) else own for name, own in names.items()}
    for name, own in table.items():
        if not _is_key(own):
            raise InputError(f"the table of names must give {name} a name or a path of names, got {own!r}")
    expected, own = weight_shapes(spec), list(table.values())
    problems = [f"missing {name}" for name in expected if name not in names]
    problems += [f"unexpected {name}" for name in names if name not in expected]
    problems += [f"{name} twice" for name in dict.fromkeys(own) if own.count(name) > 1]
    if problems:
        raise InputError(f"the table of names does not fit the network: {'; '.join(problems)}")
    return table


def _is_key(own: Any) -> bool:
    parts = own if isinstance(own, tuple) else (own,)
    return bool(parts) and all(isinstance(part, str | int) for part in parts)


def select_arrays(native: Mapping[Any, Any], names: Mapping[str, Any]) -> Weights:
    """Copy a framework's arrays into the neutral dictionary, by an explicit table from neutral names to its own.

    Raises:
        InputError: `native` is no dictionary, or lists every name of the table that is missing and every array that the
            table does not name.
    """
    if not isinstance(native, Mapping):
        raise InputError(f"weights must be a dictionary of arrays, got {type(native).__name__}")
    problems = [f"missing {own}" for own in names.values() if own not in native]
    problems += [f"unexpected {own}" for own in native.keys() - set(names.values())]
    if problems:
        raise InputError(
            f"weights do not fit the table of names: {'; '.join(sorted(problems))}; "
            "add what is missing, remove what the network does not have"
        )
    return {neutral: np.array(native[own]) for neutral, own in names.items()}


def strip_prefix(native: Mapping[str, Any], names: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arrays without a prefix (`module.`, `_orig_mod.model.`) that all of their keys have and the table has not.

    >>> strip_prefix({"module.a.w": 1, "module.a.b": 2}, {"head.kernel": "a.w", "head.bias": "a.b"})
    {'a.w': 1, 'a.b': 2}
    """
    own = set(names.values())
    if own & native.keys() or not all(isinstance(key, str) for key in own):
        return native
    prefix = _shared_prefix(native).removesuffix(_shared_prefix(own))
    if prefix and not prefix.endswith("."):  # a component is not cut
        return native
    return {key.removeprefix(prefix): value for key, value in native.items()}


def _shared_prefix(keys: Iterable[str]) -> str:
    columns = zip(*(key.split(".")[:-1] for key in keys), strict=False)
    return "".join(f"{column[0]}." for column in takewhile(lambda column: len(set(column)) == 1, columns))
