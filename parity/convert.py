"""Weights from one framework's own form to another's."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from parity.backend import load_backend
from parity.errors import InputError
from parity.spec import DType, ModelSpec
from parity.weights import check_names


def convert_weights(
    native: Any,
    spec: ModelSpec,
    *,
    source: str,
    target: str,
    source_names: Mapping[str, Any] | None = None,
    target_names: Mapping[str, Any] | None = None,
    dtype: DType | None = None,
) -> Any:
    """Convert weights from one framework's own form to another's.

    Args:
        native: a Torch module, its `state_dict`, or a checkpoint that holds one; a bound linen module, Flax variables,
            an NNX module or its state, or a checkpoint that holds them.
        spec: the network.
        source: the backend whose form `native` has.
        target: the backend whose form is wanted.
        source_names: the table from neutral names to those in `native`. None: those of the backend's own
            `MultiLayerPerceptron`, or for other names the order of the layers, as a module's forward pass shows it, or
            as numbers and shapes prove it. `layer_names` of a sibling makes such a table.
        target_names: the same for the result; None for those of the backend's own `MultiLayerPerceptron`.
        dtype: of the result; None for that of `native`, and float32 for what is narrower.

    Raises:
        InputError: names or shapes do not fit the spec (the message lists them all), the order of the layers is not
            proven, or a value has no numbers in it.

    Example::

        variables = parity.convert_weights(module, spec, source="torch", target="jax")
    """
    if dtype not in (None, *get_args(DType)):
        raise InputError(f"dtype must be one of {', '.join(get_args(DType))}, got {dtype!r}")
    tables = [None if names is None else check_names(names, spec) for names in (source_names, target_names)]
    weights = load_backend(source).from_native(native, spec, tables[0])
    if dtype is None:
        dtype = "float64" if weights["head.bias"].dtype == np.float64 else "float32"
    return load_backend(target).to_native(weights, spec, dtype, tables[1])
