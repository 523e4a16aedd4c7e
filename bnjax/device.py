"""Where JAX computes, and how precisely it multiplies float32 matrices."""

import os
from contextlib import AbstractContextManager, suppress
from typing import Any, get_args

import jax
import jax.numpy as jnp
from platformdirs import user_cache_path

from parity.errors import InputError
from parity.machine import usable_cores
from parity.spec import Precision

GPU_LANES = 16  # a lane alone leaves most of a GPU idle
SHORTEST_COMPILATION = 0.2  # seconds; what compiles faster is not worth a file
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


def count_lanes(name: str = "") -> int:
    """How many lanes of a population are trained side by side: one on each core that is a device; on a GPU, many."""
    devices = jax.local_devices(backend=find_device(name).platform)
    return sum(1 if device.platform == "cpu" else GPU_LANES for device in devices)


def accelerator(name: str = "") -> str:
    """What a device is called that is no CPU; "" for a CPU."""
    device = find_device(name)
    return "" if device.platform == "cpu" else device.device_kind


def pad_lanes(device: Any, lanes: int, most: int) -> int:
    """How many lanes a population of `lanes` had better have, where others like it have `most` at the most.

    The number of lanes that a device trains together is compiled in. On a CPU that is one, so a population need only
    be as large as there are cores for the largest. Elsewhere it is that of the largest, or a half or a quarter of it
    where that still fills the device, and a multiple of the number of devices.
    """
    devices = len(jax.local_devices(backend=device.platform))
    if device.platform == "cpu":
        return max(lanes, min(most, devices))
    padded = max(lanes, most)
    while lanes <= -(-padded // 2) and padded >= 2 * devices * GPU_LANES:
        padded = -(-padded // 2)
    return -(-padded // devices) * devices


def free_bytes(name: str = "") -> int | None:
    """Memory that is free on a device; None where JAX does not tell, as on a CPU."""
    told = find_device(name).memory_stats()
    return None if not told or "bytes_limit" not in told else told["bytes_limit"] - told["bytes_in_use"]


def own_process() -> None:
    """Set up JAX for a program of our own, before it starts: a device for each core, and compiled programs are kept.

    What the user has set by JAX's own variables stays.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with suppress(RuntimeError):  # which is raised where JAX has started
            jax.config.update("jax_num_cpu_devices", usable_cores())
    if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        with suppress(OSError):
            jax.config.update("jax_compilation_cache_dir", str(user_cache_path("bnparity", ensure_exists=True) / "jax"))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)


def share_devices(first: Any, lanes: int) -> tuple[list[Any], int]:
    """Devices of the kind of `first` that `lanes` are shared out to, and in how many equal blocks.

    On a CPU a lane is a block, the work of one core. Of other devices as many are taken as divide the lanes evenly,
    and each has one block.
    """
    kind = [first, *(device for device in jax.local_devices(backend=first.platform) if device != first)]
    if first.platform == "cpu":
        return kind[:lanes], lanes
    count = next(n for n in range(min(lanes, len(kind)), 0, -1) if lanes % n == 0)
    return kind[:count], count


def check_precision(precision: Precision) -> None:
    """Raise `InputError` unless `precision` is the name of one."""
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")


def matmul_precision(precision: Precision) -> AbstractContextManager[object]:
    """Within this, products of float32 matrices have that precision, where the device offers it."""
    return jax.default_matmul_precision(MATMUL_PRECISION[precision])
