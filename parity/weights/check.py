"""Whether weights fit a network."""

from collections.abc import Mapping

import numpy as np

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights.names import Array, Weights, weight_shapes


def check_weights(weights: Mapping[str, Array], spec: ModelSpec) -> None:
    """Check names, shapes and dtypes against a spec.

    Raises:
        InputError: lists everything missing, unexpected, misshapen or of a wrong dtype.
    """
    arrays = {name: np.asarray(array) for name, array in weights.items()}
    check_forms({name: (array.shape, str(array.dtype)) for name, array in arrays.items()}, spec, "weights")


def check_forms(forms: Mapping[str, tuple[tuple[int, ...], str]], spec: ModelSpec, source: str) -> None:
    """As `check_weights`, from each tensor's shape and dtype alone."""
    expected = weight_shapes(spec)
    problems = [f"missing {name}" for name in expected if name not in forms]
    problems += [f"unexpected {name}" for name in forms if name not in expected]
    dtypes: set[str] = set()
    for name in expected.keys() & forms.keys():
        shape, dtype = forms[name]
        dtypes.add(dtype)
        if shape != expected[name]:
            problems.append(f"{name} has shape {shape} instead of {expected[name]}")
        if dtype not in ("float32", "float64"):
            problems.append(f"{name} has dtype {dtype} instead of float32 or float64")
    if dtypes == {"float32", "float64"}:
        problems.append("the dtypes float32 and float64 are mixed (convert all to one)")
    if problems:
        raise InputError(f"{source} do not fit the network: {'; '.join(sorted(problems))}")


def cast_weights(weights: Mapping[str, Array], dtype: str) -> Weights:
    """A copy of the weights in another dtype; nothing is shared with the original."""
    return {name: np.array(array, dtype=dtype) for name, array in weights.items()}
