"""Models by which `bnparity compare --self-test` is tested; each has its partner in `bnjax/specimens`."""

from importlib import import_module
from typing import Any

import torch


def specimen(kind: str, fault: str = "", seed: int = 0) -> Any:
    """Return a port of the model of a kind: what the candidate is faulty against, where that is a choice of its own.

    Args:
        kind: a file of this folder.
        fault: that is planted in the other framework.
        seed: of the weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return import_module(f"{__name__}.{kind}").port(fault)
