"""Where PyTorch computes, and how precisely it multiplies float32 matrices."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, get_args

import torch
from platformdirs import user_cache_path

from parity.errors import InputError
from parity.spec import Precision

GPU_LANES = 16  # a lane alone leaves most of a GPU idle
KINDS = {"cpu": "cpu", "gpu": "cuda"}
WARM_UP = 1  # runs before a capture, in which libraries choose their algorithms and take their memory
MATMUL_PRECISION = {"highest": "highest", "tf32": "high", "bfloat16": "medium"}


def find_device(name: str = "") -> torch.device:
    """The first device of a kind, "cpu" or "gpu"; "" for PyTorch's default.

    Raises:
        InputError: there is none of that kind, with the kinds that there are.
    """
    if name == "":
        return torch.get_default_device()
    available = [kind for kind in KINDS if kind == "cpu" or torch.cuda.is_available()]
    if name not in available:
        raise InputError(f"PyTorch has no device {name!r} here; choose one of {', '.join(available)}")
    return torch.device(KINDS[name])


def count_lanes(name: str = "") -> int:
    """How many lanes of a population are trained side by side: one for each thread; on a GPU, many."""
    return torch.get_num_threads() if find_device(name).type == "cpu" else GPU_LANES


def accelerator(name: str = "") -> str:
    """What a device is called that is no CPU; "" for a CPU."""
    device = find_device(name)
    if device.type == "cpu":
        return ""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def pad_lanes(device: torch.device, lanes: int, most: int) -> int:
    """How many lanes a population of `lanes` had better have, where others like it have `most` at the most.

    On a GPU to train fewer lanes saves little, and to move them costs a graph: as many as there are of the largest, or
    a half, a quarter and so on.
    """
    padded = most
    while device.type != "cpu" and lanes <= -(-padded // 2) < padded:
        padded = -(-padded // 2)
    return lanes if device.type == "cpu" else max(lanes, padded)


def free_bytes(name: str = "") -> int | None:
    """Memory that is free on a device; None where PyTorch does not tell, as on a CPU."""
    device = find_device(name)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def own_process() -> None:
    """Set up PyTorch for a program of our own, before it starts: compiled programs are kept.

    What the user has set by PyTorch's own variable stays.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache_path("bnparity") / "torch"))


def check_precision(precision: Precision) -> None:
    """Raise `InputError` unless `precision` is the name of one."""
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Within this, products of float32 matrices have that precision, where the device offers it.

    On a GPU, "bfloat16" allows TF32, the lowest that PyTorch has there.
    """
    # The setting by one name for all devices, and the newer one for each: a caller may have used either.
    cpu: Any = torch.backends.mkldnn
    backends = cpu.matmul, torch.backends.cuda.matmul
    before, general = [backend.fp32_precision for backend in backends], None
    with suppress(RuntimeError):  # which is raised where the newer has made the devices differ
        general = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(MATMUL_PRECISION[precision])
    try:
        yield
    finally:
        if general is not None:
            torch.set_float32_matmul_precision(general)
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[None]:
    """Within this, and in threads that are started within it, an operation on a CPU keeps to its own thread."""
    before = torch.get_num_threads()
    if device.type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """A replay of `step` as a CUDA graph; it is run a few times first, as PyTorch asks for, on a stream of its own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # What other threads do on the GPU meanwhile, another framework's say, is no part of the graph.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay
