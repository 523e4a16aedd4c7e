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
from bntorch.settings import matmul_precision
from parity.backend.batch import Batch, bound, loss_of, map_arrays
from parity.backend.port import Mode, Task, size_of
from parity.errors import InputError
from parity.spec import Precision

WAYS = ("eager", "compiled")


class ModuleWork:
    """See `parity.backend.port.Work`.

    Args:
        model: a module of its own, in its dtype and mode.
        call: the user's own way to call it, if there is one.
        loss: of its output.
        make_step: makes what takes the optimizer's steps from the parameters.
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
        make_step: Callable[[Sequence[Tensor]], Callable[[], None]],
        batch: Mapping[str, Any],
        task: Task,
        way: str,
        precision: Precision,
    ) -> None:
        self._call, self._loss, self._batch, self._task = call, loss, batch, task
        self._precision: Precision = precision
        self._mode = Mode.EVALUATION if task is Task.FORWARD else Mode.TRAIN
        self._has_gradients = task is not Task.FORWARD
        self._last: Any = None
        if call is None:  # found out once, and not in what is timed
            self._given, self._named, self._left = bound(model.forward, batch, self._mode)
        self._parameters = list(model.parameters())
        self._step = make_step(self._parameters) if task is Task.STEP else _nothing
        self._device = next((each.device for each in self._parameters), torch.device("cpu"))
        self._synchronize = torch.cuda.synchronize if self._device.type == "cuda" else _nothing
        if way == "compiled":
            find_compiler(self._device.type)
            # Compiling in other processes would take time of what is timed meanwhile, and caches tell no time at all.
            options = {"compile_threads": 1, "fx_graph_cache": False}
            model = torch.compile(model, dynamic=False, options=options)  # type: ignore[assignment]
        self._model, self._is_compiled, self._is_checked = model, way != "compiled", False

    @property
    def is_on_cpu(self) -> bool:
        """See `Work`."""
        return self._device.type == "cpu"

    def run(self, count: int) -> None:
        """See `Work`."""
        empty, self._is_compiled = nullcontext() if self._is_compiled else _empty_cache(), True
        with empty:
            try:
                self._run(count)
            except RuntimeError as error:  # a model may derive something within its forward pass
                if self._has_gradients or "does not require grad" not in str(error):
                    raise
                self._has_gradients = True
                self._run(count)

    def _run(self, count: int) -> None:
        do = self._forward if self._task is Task.FORWARD else self._train
        with matmul_precision(self._precision), torch.set_grad_enabled(self._has_gradients):
            for _ in range(count):
                self._last = do()
            self._synchronize()

    def size(self) -> float:
        """See `Work`."""
        if self._task is not Task.FORWARD:
            return float(self._last)
        with torch.set_grad_enabled(self._has_gradients):
            outputs, left = self._called()
            if self._loss is not None:
                return float(loss_of(self._loss, outputs, left).detach())
        leaves = (leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor))
        return size_of(leaf.detach().double().cpu().numpy() for leaf in leaves if leaf.is_floating_point())

    def _called(self) -> tuple[Any, list[Any]]:
        if self._call is None:
            return self._model(*self._given, **self._named), self._left
        taken = Batch(self._batch)
        return self._call(self._model, taken, self._mode is Mode.TRAIN), taken.left()

    def _forward(self) -> Any:
        return self._called()[0]

    def _train(self) -> Tensor:
        outputs, left = self._called()
        assert self._loss is not None
        if not self._is_checked:
            loss_of(self._loss, outputs, left)
            self._is_checked = True
        loss = self._loss(outputs, *left)
        loss.backward()
        self._step()
        for each in self._parameters:  # so that what gradients need counts as what a step needs
            each.grad = None
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
    derived = [
        (module, name, tensor)
        for module in model.modules()
        for name, tensor in vars(module).items()
        if isinstance(tensor, Tensor) and tensor.grad_fn is not None
    ]
    try:
        for module, name, tensor in derived:  # as weight norm has it, which makes it anew each time
            setattr(module, name, tensor.detach())
        made = copy.deepcopy(model)
    except Exception as error:  # a module may hold what cannot be copied
        raise InputError(f"the model cannot be copied to be timed: {type(error).__name__}: {error}") from error
    finally:
        for module, name, tensor in derived:
            setattr(module, name, tensor)
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
