"""Flax variables to and from the neutral weight dictionary, by an explicit table."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from bnjax.checkpoint import find_module, read_arrays
from bnjax.layer_order import layer_names
from parity.errors import InputError
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights, check_names, check_weights, is_statistic, select_arrays

LEAVES = {
    "kernel": ("params", "linear_{i}", "kernel"),
    "bias": ("params", "linear_{i}", "bias"),
    "gamma": ("params", "norm_{i}", "scale"),
    "beta": ("params", "norm_{i}", "bias"),
    "running_mean": ("batch_stats", "norm_{i}", "mean"),
    "running_var": ("batch_stats", "norm_{i}", "var"),
}


def native_names(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """The path in the variables of `MultiLayerPerceptron`, by neutral name.

    >>> native_names(ModelSpec())["hidden.1.gamma"]
    ('params', 'norm_1', 'scale')
    """
    leaves = LEAVES if spec.use_batch_norm else {leaf: LEAVES[leaf] for leaf in ("kernel", "bias")}
    names = {
        f"hidden.{i}.{leaf}": tuple(part.format(i=i) for part in path)
        for i in range(spec.num_hidden_layers)
        for leaf, path in leaves.items()
    }
    return names | {"head.kernel": ("params", "head", "kernel"), "head.bias": ("params", "head", "bias")}


def weights_dtype(dtype: DType) -> Literal["float32", "float64"]:
    """The dtype of weights and statistics under a working dtype: float32 under bfloat16."""
    return "float64" if dtype == "float64" else "float32"


def to_native(
    weights: Mapping[str, Array],
    spec: ModelSpec,
    dtype: DType = "float32",
    names: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Variables of `MultiLayerPerceptron`, `{"params": ..., "batch_stats": ...}`, on the default device.

    Raises:
        InputError: the weights do not fit the spec, or float64 is asked for where JAX would cut it to float32.
    """
    if dtype == "float64" and not jax.config.read("jax_enable_x64"):
        raise InputError("float64 in JAX needs x64; use it inside `with jax.enable_x64(True):`, or ask for float32")
    # NumPy copies of our own first: JAX may alias the memory of an array that it is given.
    return jax.tree.map(jnp.asarray, native_on_host(weights, spec, dtype, names))


def native_on_host(
    weights: Mapping[str, Array],
    spec: ModelSpec,
    dtype: DType = "float32",
    names: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `to_native` puts on a device: copies, in NumPy.

    Raises:
        InputError: the weights do not fit the spec.
    """
    names = check_names(native_names(spec) if names is None else names, spec)
    check_weights(weights, spec)
    arrays = {path: np.array(weights[name], weights_dtype(dtype)) for name, path in names.items()}
    if odd := [own for own in names.values() if not isinstance(own, tuple)]:
        raise InputError(f"a path of Flax variables is a tuple of names, got {odd[0]!r}")
    if inner := [path for path in names.values() if any(path[: len(p)] == p != path for p in names.values())]:
        raise InputError(f"the path {inner[0]!r} goes through another tensor's; give each a path of its own")
    collections = {"params": {}, "batch_stats": {}} if any("params" in path[:1] for path in names.values()) else {}
    return collections | unflatten_dict(arrays)


def from_native(native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
    """The neutral dictionary of a module, of Flax variables, of an `nnx.State` or of a checkpoint; a copy.

    Args:
        native: a linen module is bound to its variables, `module.bind(variables)`. float16 and bfloat16 become float32;
            the states of random number generators in an `nnx.State` are left out.
        spec: the network.
        names: the path of each tensor by neutral name; None for those of `MultiLayerPerceptron`, or where there are
            others, for what `layer_names` finds.

    Raises:
        InputError: names or shapes do not fit; the message lists them all.
    """
    arrays = read_arrays(native)
    if names is None:
        names = native_names(spec)
        if find_module(native) is not None or not set(names.values()) & arrays.keys():
            names = layer_names(native, spec)
    weights = select_arrays(arrays, check_names(names, spec))
    check_weights(weights, spec)
    return weights


def gradients_from_native(gradients: Mapping[str, Any], spec: ModelSpec) -> Weights:
    """The neutral dictionary of gradients that are shaped as the parameters; a copy."""
    names = {name: path for name, path in native_names(spec).items() if not is_statistic(name)}
    return select_arrays(flatten_dict({"params": gradients}), names)
