"""The arrays in what people have of a Torch module: the module, its `state_dict`, a checkpoint."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from parity.errors import InputError
from parity.weights.checkpoint import unwrap
from parity.weights.order import COUNTER

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def find_module(native: Any) -> nn.Module | None:
    """Return the module in a module or in a checkpoint of one; None where there are tensors alone."""
    found = unwrap(native)
    return found if isinstance(found, nn.Module) else None


def find_tensors(native: Any) -> dict[str, Any]:
    """Return the tensors of a module, of a `state_dict` or of a checkpoint, by key.

    The counters `num_batches_tracked` of stock norms are left out.

    Raises:
        InputError: there is no `state_dict`.
    """
    native = unwrap(native)
    if isinstance(native, nn.Module):
        native = native.state_dict()
    if not isinstance(native, Mapping):
        raise InputError(f"weights must be a module, its state_dict or a checkpoint, got {type(native).__name__}")
    if odd := [key for key in native if not isinstance(key, str)]:
        raise InputError(f"the keys of a state_dict are strings, got {odd[0]!r}; rename it")
    return {key: value for key, value in native.items() if key.rpartition(".")[2] != COUNTER}


def read_arrays(native: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays in what `find_tensors` finds, by key; they may share memory with it.

    float16 and bfloat16 become float32, which is exact.

    Raises:
        InputError: there is no `state_dict`, or a value is no tensor with numbers in it.
    """
    return {key: _read(key, value) for key, value in find_tensors(native).items()}


def _read(key: str, value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        # Torch takes neither foreign byte orders nor strides below 0, nor long doubles.
        wide = np.float64 if value.dtype.itemsize > 8 else value.dtype.newbyteorder("=")
        value = torch.tensor(np.array(value, wide))
    if not isinstance(value, Tensor):
        raise InputError(f"{key!r} is a {type(value).__name__} instead of a tensor; remove it or give a tensor")
    if is_lazy(value):
        raise InputError(f"{key!r} is not initialized yet; run the module on a batch first")
    if value.is_meta:
        raise InputError(f"{key!r} is on the meta device and has no numbers; load the weights into the module first")
    if value.dtype not in FLOATS:
        raise InputError(
            f"{key!r} has dtype {value.dtype} instead of a floating-point one of 16, 32 or 64 bits; "
            "dequantize or convert it, or remove it if the network does not have it"
        )
    try:
        dense = value.detach().to_dense() if value.layout is not torch.strided else value
        wide = dense if dense.dtype in (torch.float32, torch.float64) else dense.to(torch.float32)
        return wide.numpy(force=True)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"{key!r} cannot be read: {error}; give a tensor with numbers in it") from error
