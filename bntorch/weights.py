"""A Torch `state_dict` to and from the neutral weight dictionary, by an explicit table."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bntorch.checkpoint import find_module, read_arrays
from bntorch.layer_order import layer_names
from parity.errors import InputError
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights, check_names, check_weights, is_statistic, select_arrays, strip_prefix

LEAVES = {
    "kernel": "linears.{i}.weight",
    "bias": "linears.{i}.bias",
    "gamma": "norms.{i}.weight",
    "beta": "norms.{i}.bias",
    "running_mean": "norms.{i}.running_mean",
    "running_var": "norms.{i}.running_var",
}


def native_names(spec: ModelSpec) -> dict[str, str]:
    """The key in the `state_dict` of `MultiLayerPerceptron`, by neutral name.

    >>> native_names(ModelSpec())["hidden.1.gamma"]
    'norms.1.weight'
    """
    leaves = LEAVES if spec.use_batch_norm else {leaf: LEAVES[leaf] for leaf in ("kernel", "bias")}
    names = {
        f"hidden.{i}.{leaf}": key.format(i=i) for i in range(spec.num_hidden_layers) for leaf, key in leaves.items()
    }
    return names | {"head.kernel": "head.weight", "head.bias": "head.bias"}


def weights_dtype(dtype: DType) -> Literal["float32", "float64"]:
    """The dtype of weights and statistics under a working dtype: float32 under bfloat16."""
    return "float64" if dtype == "float64" else "float32"


def to_native(
    weights: Mapping[str, Array],
    spec: ModelSpec,
    dtype: DType = "float32",
    names: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """A `state_dict` of `MultiLayerPerceptron`; kernels are transposed, as Torch stores (out, in).

    Raises:
        InputError: the weights do not fit the spec.
    """
    names = check_names(native_names(spec) if names is None else names, spec)
    check_weights(weights, spec)
    if odd := [own for own in names.values() if not isinstance(own, str)]:
        raise InputError(f"a key of a state_dict is a string, got {odd[0]!r}")
    arrays = {key: np.array(weights[name], weights_dtype(dtype)) for name, key in names.items()}
    return {key: torch.tensor(_transpose_kernel(name, arrays[key])) for name, key in names.items()}


def from_native(native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
    """The neutral dictionary of a module, a `state_dict` or a checkpoint; a copy.

    Args:
        native: float16 and bfloat16 become float32; the counters `num_batches_tracked` of stock norms are left out, and
            a prefix of all keys (`module.`) that the table does not have.
        spec: the network.
        names: the key of each tensor by neutral name; None for those of `MultiLayerPerceptron`, or where there are
            others, for what `layer_names` finds.

    Raises:
        InputError: names or shapes do not fit; the message lists them all.
    """
    arrays = read_arrays(native)
    if names is None:
        names = native_names(spec)
        if find_module(native) is not None or not set(names.values()) & arrays.keys():
            names = layer_names(native, spec)
    names = check_names(names, spec)
    selected = select_arrays(strip_prefix(arrays, names), names)
    weights = {name: _transpose_kernel(name, array) for name, array in selected.items()}
    check_weights(weights, spec)
    return weights


def gradients_from_native(gradients: Mapping[str, Any], spec: ModelSpec) -> Weights:
    """The neutral dictionary of gradients by parameter name; a copy."""
    names = {name: key for name, key in native_names(spec).items() if not is_statistic(name)}
    arrays = select_arrays({key: to_numpy(gradient) for key, gradient in gradients.items()}, names)
    return {name: _transpose_kernel(name, array) for name, array in arrays.items()}


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """The array of a tensor. It may share the tensor's memory: copy it if the tensor lives on.

    Raises:
        InputError: NumPy has no such dtype (bfloat16, say).
    """
    if tensor.dtype.is_floating_point and tensor.dtype not in (torch.float32, torch.float64):
        raise InputError(f"a tensor must be float32 or float64, got {tensor.dtype}; convert it first")
    return tensor.detach().cpu().numpy()


def _transpose_kernel(name: str, array: Array) -> Array:
    return np.ascontiguousarray(array.T) if name.endswith("kernel") else array
