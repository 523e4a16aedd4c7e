"""Where JAX computes."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from platformdirs import user_cache_path

from parity.errors import InputError, choices
from parity.machine import usable_cores

GPU_LANES = 16  # a lane alone leaves most of a GPU idle
SHORTEST_COMPILATION = 0.2  # seconds; a faster compilation is not worth a file
KINDS = ("cpu", "gpu", "tpu")


def find_device(name: str = "") -> Any:
    """Return the first device of a kind, "cpu", "gpu" or "tpu"; "" for JAX's default.

    Raises:
        InputError: there is none of that kind, with the kinds that there are.
    """
    if name == "":
        return jnp.zeros(()).devices().pop()
    available = {kind: device for kind in KINDS if (device := _first_device(kind)) is not None}
    if name not in available:
        raise InputError(f"JAX has no device {name!r} here; {choices(name, available)}")
    return available[name]


def _first_device(kind: str) -> Any:
    try:
        return jax.devices(kind)[0]
    except RuntimeError:
        return None


def count_lanes(name: str = "") -> int:
    """Count the lanes of a population that train side by side: one on each core that is a device; on a GPU, many."""
    devices = jax.local_devices(backend=find_device(name).platform)
    return sum(1 if device.platform == "cpu" else GPU_LANES for device in devices)


def accelerator(name: str = "") -> str:
    """Return the name of a GPU or TPU; "" for a CPU."""
    device = find_device(name)
    return "" if device.platform == "cpu" else device.device_kind


def pad_lanes(device: Any, lanes: int, most: int) -> int:
    """Round `lanes` up to a number that is already compiled, where populations have `most` lanes or fewer.

    The number of lanes that a device trains together is compiled in. On a CPU it is one, so a population needs only a
    lane for each core that the largest population uses. Elsewhere take the largest number, or half or a quarter of it
    if that still fills the device, rounded up to a multiple of the number of devices.
    """
    devices = len(jax.local_devices(backend=device.platform))
    if device.platform == "cpu":
        return max(lanes, min(most, devices))
    padded = max(lanes, most)
    while lanes <= -(-padded // 2) and padded >= 2 * devices * GPU_LANES:
        padded = -(-padded // 2)
    return -(-padded // devices) * devices


def free_bytes(name: str = "") -> int | None:
    """Return the free memory of a device; None if JAX does not report it, as on a CPU."""
    told = find_device(name).memory_stats()
    return None if not told or "bytes_limit" not in told else told["bytes_limit"] - told["bytes_in_use"]


def own_process(cache: str = "") -> None:
    """Set up JAX before it starts: one device for each core, and a cache of compiled programs.

    Args:
        cache: a folder for it; "" for the user's, which JAX's own variables may name.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with suppress(RuntimeError):  # raised if JAX has started
            jax.config.update("jax_num_cpu_devices", usable_cores())
    if cache or jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
        with suppress(OSError):
            folder = Path(cache) if cache else user_cache_path("bnparity", ensure_exists=True)
            jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_COMPILATION)
