"""Models by which `bnparity compare --self-test` is tested; each has its partner in `bntorch/specimens`."""

from importlib import import_module
from typing import Any


def specimen(kind: str, fault: str = "", seed: int = 0) -> Any:
    """Return a port of the model of a kind, with a fault planted in it.

    Args:
        kind: a file of this folder.
        fault: one that the model knows; "" for none.
        seed: without effect, since these models' weights are drawn by a key of their own.
    """
    return import_module(f"{__name__}.{kind}").port(fault)
