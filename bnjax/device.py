"""Where JAX computes, and how precisely it multiplies float32 matrices."""

from contextlib import AbstractContextManager
from typing import Any, get_args

import jax
import jax.numpy as jnp

from parity.errors import InputError
from parity.spec import Precision

KINDS = ("cpu", "gpu", "tpu")
MATMUL_PRECISION = {"highest": "highest", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}


def find_device(name: str = "") -> Any:
    """The first device of a kind, "cpu", "gpu" or "tpu"; "" for JAX's default.

    Raises:
        InputError: there is none of that kind, with the kinds that there are.
    """
    if name == "":
        return jnp.zeros(()).devices().pop()
    available = {kind: device for kind in KINDS if (device := _first_device(kind)) is not None}
    if name not in available:
        raise InputError(f"JAX has no device {name!r} here; choose one of {', '.join(available)}")
    return available[name]


def _first_device(kind: str) -> Any:
    try:
        return jax.devices(kind)[0]
    except RuntimeError:
        return None


def share_devices(first: Any, lanes: int) -> list[Any]:
    """Devices of the kind of `first` that `lanes` are shared out to: as many as divide them evenly."""
    kind = [first, *(device for device in jax.local_devices(backend=first.platform) if device != first)]
    count = next(n for n in range(min(lanes, len(kind)), 0, -1) if lanes % n == 0)
    return kind[:count]


def check_precision(precision: Precision) -> None:
    """Raise `InputError` unless `precision` is the name of one."""
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")


def matmul_precision(precision: Precision) -> AbstractContextManager[object]:
    """Within this, products of float32 matrices have that precision, where the device offers it."""
    return jax.default_matmul_precision(MATMUL_PRECISION[precision])
