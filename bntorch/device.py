"""Where PyTorch computes."""

import os
from pathlib import Path

import torch
from platformdirs import user_cache_path

from parity.errors import InputError, choices

GPU_LANES = 16  # a lane alone leaves most of a GPU idle
KINDS = {"cpu": "cpu", "gpu": "cuda"}


def find_device(name: str = "") -> torch.device:
    """Return the first device of a kind, "cpu" or "gpu"; "" for PyTorch's default.

    Raises:
        InputError: there is none of that kind, with the kinds that there are.
    """
    if name == "":
        return torch.get_default_device()
    available = [kind for kind in KINDS if kind == "cpu" or torch.cuda.is_available()]
    if name not in available:
        raise InputError(f"PyTorch has no device {name!r} here; {choices(name, available)}")
    return torch.device(KINDS[name])


def count_lanes(name: str = "") -> int:
    """Count the lanes of a population that train side by side: one for each thread; on a GPU, many."""
    return torch.get_num_threads() if find_device(name).type == "cpu" else GPU_LANES


def accelerator(name: str = "") -> str:
    """Return the name of a GPU or TPU; "" for a CPU."""
    device = find_device(name)
    if device.type == "cpu":
        return ""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def pad_lanes(device: torch.device, lanes: int, most: int) -> int:
    """Round `lanes` up to a number that is already compiled, where populations have `most` lanes or fewer.

    On a GPU, fewer lanes save little time, and each new number costs a captured graph. So take the largest number, or
    a half, a quarter and so on of it.
    """
    padded = most
    while device.type != "cpu" and lanes <= -(-padded // 2) < padded:
        padded = -(-padded // 2)
    return lanes if device.type == "cpu" else max(lanes, padded)


def free_bytes(name: str = "") -> int | None:
    """Return the free memory of a device; None if PyTorch does not report it, as on a CPU."""
    device = find_device(name)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def own_process(cache: str = "") -> None:
    """Set up PyTorch before it starts: a cache of compiled programs.

    Args:
        cache: a folder for it; "" for the user's, which PyTorch's own variable may name.
    """
    if cache or "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = Path(cache) if cache else user_cache_path("bnparity")
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torch")
