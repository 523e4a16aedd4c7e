"""The arrays in what people have of a Flax model: the module, its variables, an `nnx.State`, a checkpoint."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.core import Tracer
from numpy.typing import NDArray

from parity.errors import InputError
from parity.weights.checkpoint import HOLDERS, RUN_STATE, unwrap

FLOATS = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
_HOLDERS = [key for key in HOLDERS if key != "params"]  # in Flax that is a collection


def find_module(native: Any) -> nn.Module | nnx.Module | None:
    """Return the module in a module or in a checkpoint of one; None where there are arrays alone."""
    found = unwrap(native, _HOLDERS)
    return found if isinstance(found, nn.Module | nnx.Module) else None


def find_tensors(native: Any) -> dict[tuple[Any, ...], Any]:
    """Return the variables of a module, a dictionary, an `nnx.State`, a `TrainState` or a checkpoint, by path.

    The states of random number generators in an `nnx.State` are left out, and what stands beside the collection
    `params` in a checkpoint and is in `RUN_STATE`.

    Raises:
        InputError: there are no variables.
    """
    native = unwrap(native, _HOLDERS)
    if isinstance(native, nn.Module):
        if native.scope is None:
            raise InputError("a linen module holds no weights of its own; give module.bind(variables)")
        native = native.variables
    if isinstance(native, nnx.Module):
        native = nnx.state(native)
    if isinstance(native, nnx.State):
        native = unflatten_dict(dict(nnx.to_flat_state(native)))
    if hasattr(native, "params") and not isinstance(native, Mapping):  # a TrainState
        native = {"params": native.params, "batch_stats": getattr(native, "batch_stats", {})}
    if not isinstance(native, Mapping):
        raise InputError(
            "weights must be Flax variables, a bound linen module, an NNX module, its state or a checkpoint, "
            f"got {type(native).__name__}"
        )
    if "params" in native:
        native = {key: value for key, value in native.items() if key not in RUN_STATE}
        if len(native) == 1 and isinstance(native["params"], Mapping) and "params" in native["params"]:
            native = native["params"]
    return {path: value for path, value in flatten_dict(native).items() if not isinstance(value, nnx.RngState)}


def read_arrays(native: Any) -> dict[tuple[Any, ...], NDArray[Any]]:
    """Return the arrays in what `find_tensors` finds, by path; they may share memory with it.

    float16 and bfloat16 become float32, which is exact.

    Raises:
        InputError: there are no variables, or a value is no array with numbers in it.
    """
    return {path: _read(path, value) for path, value in find_tensors(native).items()}


def _read(path: tuple[Any, ...], value: Any) -> NDArray[Any]:
    if isinstance(value, nnx.Variable):
        value = value.get_value()
    if not isinstance(value, jax.Array | np.ndarray):
        raise InputError(f"{path} is a {type(value).__name__} instead of an array; remove it or give an array")
    if value.dtype not in FLOATS:
        raise InputError(
            f"{path} has dtype {value.dtype} instead of a floating-point one of 16, 32 or 64 bits; "
            "convert it, or remove it if the network does not have it"
        )
    if isinstance(value, jax.Array) and not isinstance(value, Tracer) and value.is_deleted():
        raise InputError(
            f"{path} was donated and is deleted; give the state that the step returned, not the one it took"
        )
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; convert weights outside of jax.jit") from error
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
