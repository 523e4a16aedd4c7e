"""Weights from one framework's own form to another's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.backend import load_backend
from parity.errors import InputError
from parity.spec import DType, ModelSpec


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
        native: Flax variables, or a Torch `state_dict`.
        spec: the network.
        source: the backend whose form `native` has.
        target: the backend whose form is wanted.
        source_names: the table from neutral names to those in `native`; None for those of the backend's own
            `MultiLayerPerceptron`. `parity.registration_order_names` makes one for any Torch module that registers its
            layers in order, the lab's among them.
        target_names: the same for the result.
        dtype: of the result; None for that of `native`.

    Raises:
        InputError: names or shapes do not fit the spec; the message lists them all.

    Example::

        variables = parity.convert_weights(model.state_dict(), spec, source="torch", target="jax")
    """
    if not isinstance(native, Mapping):
        raise InputError(f"weights must be Flax variables or a state_dict, got {type(native).__name__}")
    weights = load_backend(source).from_native(native, spec, source_names)
    if dtype is None:
        dtype = "float64" if weights["head.bias"].dtype == np.float64 else "float32"
    return load_backend(target).to_native(weights, spec, dtype, target_names)
