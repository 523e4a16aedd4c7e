"""The settings that JAX computes under."""

from contextlib import AbstractContextManager
from typing import get_args

import jax

from parity.errors import InputError
from parity.spec import Precision

MATMUL_PRECISION = {"highest": "highest", "tf32": "tensorfloat32", "bfloat16": "bfloat16"}


def check_precision(precision: Precision) -> None:
    """Raise `InputError` unless `precision` is the name of one."""
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")


def matmul_precision(precision: Precision) -> AbstractContextManager[object]:
    """Multiply float32 matrices at that precision, where the device offers it, until the block ends."""
    return jax.default_matmul_precision(MATMUL_PRECISION[precision])
