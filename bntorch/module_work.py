"""A user's module at work, to be timed: as it is, or compiled."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bntorch.compiled import find_compiler
from bntorch.device import matmul_precision
from parity.backend.batch import Batch, called, loss_of, map_arrays
from parity.backend.port import Mode, Task, size_of
from parity.errors import InputError
from parity.spec import Precision

WAYS = ("eager", "compiled")


class ModuleWork:
    """See `parity.backend.port.Work`.

    Args:
        model: a module of its own, in its dtype.
        call: the user's own way to call it, if there is one.
        loss: of its output.
        make_step: makes what takes the optimizer's steps from the parameters; None to take none.
        batch: of tensors where the model is.
        task: what is done.
        way: "eager" or "compiled".
        precision: of float32 matrix products.
    """

    def __init__(
        self,
        model: nn.Module,
        call: Callable[[Any, Mapping[str, Any], bool], Any] | None,
        loss: Callable[..., Any] | None,
        make_step: Callable[[Sequence[Tensor]], Callable[[], None]] | None,
        batch: Mapping[str, Any],
        task: Task,
        way: str,
        precision: Precision,
    ) -> None:
        self._signature, self._call, self._loss, self._batch = model.forward, call, loss, batch
        self._precision: Precision = precision
        self._task, self._mode = task, Mode.TRAIN if task is Task.STEP else Mode.EVALUATION
        self._last: Any = None
        parameters = list(model.parameters())
        self._step = make_step(parameters) if task is Task.STEP and make_step is not None else None
        self._parameters = parameters
        device = next((each.device for each in parameters), torch.device("cpu"))
        self._synchronize = torch.cuda.synchronize if device.type == "cuda" else _nothing
        if way == "compiled":
            find_compiler(device.type)
            # Compiling in other processes would take time of what is timed meanwhile, and caches tell no time at all.
            options = {"compile_threads": 1, "fx_graph_cache": False}
            model = torch.compile(model, dynamic=False, options=options)  # type: ignore[assignment]
        self._model, self._is_compiled = model, way != "compiled"

    def run(self, count: int) -> None:
        """See `Work`."""
        do = self._train if self._task is Task.STEP else self._forward
        empty, self._is_compiled = nullcontext() if self._is_compiled else _empty_cache(), True
        with empty, matmul_precision(self._precision), torch.set_grad_enabled(self._task is Task.STEP):
            for _ in range(count):
                self._last = do()
            self._synchronize()

    def size(self) -> float:
        """See `Work`."""
        leaves = [leaf for leaf in pytree.tree_leaves(self._last) if isinstance(leaf, Tensor)]
        if self._task is Task.STEP:
            return float(leaves[0])
        floats = [leaf.detach().double().cpu().numpy() for leaf in leaves if leaf.is_floating_point()]
        return size_of(floats)

    def _called(self) -> tuple[Any, list[Any]]:
        if self._call is None:
            return called(self._model, self._signature, self._batch, self._mode)
        taken = Batch(self._batch)
        return self._call(self._model, taken, self._mode is Mode.TRAIN), taken.left()

    def _forward(self) -> Any:
        return self._called()[0]

    def _train(self) -> Tensor:
        for each in self._parameters:
            each.grad = None
        outputs, left = self._called()
        assert self._loss is not None
        loss = loss_of(self._loss, outputs, left)
        loss.backward()
        if self._step is not None:
            self._step()
        return loss.detach()  # type: ignore[no-any-return]


@contextmanager
def _empty_cache() -> Iterator[None]:
    """Compile into a folder that is empty, so that nothing is found there."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    with TemporaryDirectory(prefix="bnparity-bench-") as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name)
            os.environ.update({} if before is None else {name: before})


def _nothing() -> None:
    """There is nothing to wait for."""


def own_copy(model: nn.Module, tensors: Mapping[str, Tensor], dtype: str) -> nn.Module:
    """Return a module of its own with the given parameters and buffers, in a dtype."""
    try:
        made = copy.deepcopy(model)
    except Exception as error:  # a module may hold what cannot be copied
        raise InputError(f"the model cannot be copied to be timed: {type(error).__name__}: {error}") from error
    made.to(getattr(torch, dtype))
    held = dict(made.named_parameters()) | dict(made.named_buffers())
    with torch.no_grad():
        for name, tensor in tensors.items():
            held[name].copy_(tensor)
    return made


def batch_of(inputs: Mapping[str, Any], dtype: str, device: torch.device | None) -> Mapping[str, Any]:
    """Return a batch as tensors on a device, its floats in a dtype."""

    def moved(leaf: Any, to: torch.dtype) -> Tensor:
        tensor = leaf if isinstance(leaf, Tensor) else torch.from_numpy(np.array(leaf))
        return tensor.to(device, to if tensor.is_floating_point() else tensor.dtype)

    return map_arrays(partial(moved, to=getattr(torch, dtype)), inputs)  # type: ignore[no-any-return]
