"""Tables from neutral names to a framework's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.names import Weights, weight_shapes


def check_names(names: Mapping[str, Any], spec: ModelSpec) -> None:
    """Check that a table names every tensor of a network once.

    Raises:
        InputError: lists what is missing, unexpected or named twice.
    """
    expected, own = weight_shapes(spec), list(names.values())
    problems = [f"missing {name}" for name in expected if name not in names]
    problems += [f"unexpected {name}" for name in names if name not in expected]
    problems += [f"{name} twice" for name in dict.fromkeys(own) if own.count(name) > 1]
    if problems:
        raise InputError(f"the table of names does not fit the network: {'; '.join(problems)}")


def select_arrays(native: Mapping[Any, Any], names: Mapping[str, Any]) -> Weights:
    """Copy a framework's arrays into the neutral dictionary, by an explicit table from neutral names to its own.

    Raises:
        InputError: lists every name of the table that is missing and every array that the table does not name.
    """
    problems = [f"missing {own}" for own in names.values() if own not in native]
    problems += [f"unexpected {own}" for own in native.keys() - set(names.values())]
    if problems:
        raise InputError(f"weights do not fit the table of names: {'; '.join(sorted(problems))}")
    return {neutral: np.array(native[own]) for neutral, own in names.items()}
