"""Weights in safetensors files. Nothing here reads a pickle."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from parity.errors import InputError
from parity.files import replace_file
from parity.spec import ModelSpec
from parity.weights.check import check_forms, check_weights
from parity.weights.names import Array, Weights, weight_shapes

PICKLES = (b"\x80", b"PK\x03\x04")
"""How a pickle starts, and a zip archive, in which frameworks and NumPy store pickles."""
# What safetensors calls the dtypes that weights have, or may have by mistake.
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64"}


def save_weights(path: str | Path, weights: Mapping[str, Array], spec: ModelSpec) -> None:
    """Write weights as a safetensors file, replacing it whole or not at all.

    Raises:
        InputError: the weights do not fit the spec, or the file cannot be written.
    """
    check_weights(weights, spec)
    replace_file(Path(path), save({name: np.ascontiguousarray(array) for name, array in weights.items()}))


def load_weights(path: str | Path, spec: ModelSpec) -> Weights:
    """Read weights from a safetensors file and check them against a spec.

    Raises:
        InputError: the file cannot be read, is no safetensors file, or does not fit the spec.
    """
    named = repr(str(path))
    try:
        _check_header(Path(path), spec)
        with safe_open(path, framework="numpy") as file:
            # By the header alone, so that what does not fit the network is refused before it takes any memory.
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            forms = {name: (tuple(found.get_shape()), _dtype(found)) for name, found in slices.items()}
            check_forms(forms, spec, f"weights in {named}")
            return {name: file.get_tensor(name) for name in forms}
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"no weights at {named}: there is no such file; write it with save_weights") from None
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {named} as safetensors: {reason}; write it with save_weights") from error


def _dtype(found: Any) -> str:
    name = str(found.get_dtype())
    return _DTYPES.get(name, name)


def _check_header(path: Path, spec: ModelSpec) -> None:
    """Refuse a pipe, which would block, a pickle, and a file whose header alone would fill the memory."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for its writer
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        start = file.read(8)
    size = int.from_bytes(start, "little")
    most = 2**20 + 2**10 * len(weight_shapes(spec))  # bytes for what else it says, and for each tensor
    if size > most and start.startswith(PICKLES):
        raise ValueError(
            "it is a pickle or a zip archive of pickles, and reading one can run any code: if you trust it, load it "
            'with what wrote it, convert it with parity.convert_weights(..., target="numpy")'
        )
    if size > most:
        raise ValueError(f"it gives its header {size} bytes, and this network needs no more than {most}")
