"""The settings that PyTorch computes under."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, get_args

import torch

from parity.errors import InputError
from parity.spec import Precision

MATMUL_PRECISION = {"highest": "highest", "tf32": "high", "bfloat16": "medium"}


def check_precision(precision: Precision) -> None:
    """Raise `InputError` unless `precision` is the name of one."""
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Multiply float32 matrices, and convolve, at that precision, where the device offers it, until the block ends.

    On a GPU, "bfloat16" allows TF32, the lowest that PyTorch has there.
    """
    # PyTorch has one setting for all devices and a newer one for each; a caller may have used either.
    cpu: Any = torch.backends.mkldnn
    cudnn: Any = torch.backends.cudnn
    backends = cpu.matmul, torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
    before, general = [backend.fp32_precision for backend in backends], None
    with suppress(RuntimeError):  # raised if the newer setting made the devices differ
        general = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(MATMUL_PRECISION[precision])
    for backend in (cudnn.conv, cudnn.rnn):
        backend.fp32_precision = "ieee" if precision == "highest" else "tf32"
    try:
        yield
    finally:
        if general is not None:
            torch.set_float32_matmul_precision(general)
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
