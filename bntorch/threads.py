"""PyTorch's threads, which belong to the process."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[None]:
    """Keep each CPU operation to its own thread, here and in threads that start meanwhile."""
    before = torch.get_num_threads()
    if device.type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
