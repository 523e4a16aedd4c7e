"""The values at the boundaries of a model's modules: recorded, and replaced by others, forward and backward."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bntorch.dispatch import as_result
from parity.backend.port import Boundary, Call, End, Forced, ModuleCall
from parity.source import caller_outside

NEAR = 1e-10  # of a tensor's size
Replace = Callable[[Boundary, Tensor], Tensor]


class _Crossing(torch.autograd.Function):
    """A value that crosses a boundary: another takes its place, and another that of its cotangent.

    It is a copy even where nothing is replaced, since a module may change what it is given in place.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, replaced: Tensor, boundary: Boundary, replace_cotangent: Replace) -> Tensor:
        ctx.boundary, ctx.replace_cotangent = boundary, replace_cotangent
        return replaced.clone()

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.replace_cotangent(ctx.boundary, *cotangents), None, None, None


class Capture:
    """One run of a model, seen at every boundary.

    Args:
        forced: what takes the place of the model's own values. Every tensor is on the model's device.

    Attributes:
        calls: in the order in which they began.
        values: at each boundary, in the order in which they crossed it, before they were replaced.
        cotangents: the same, backward.
        sources: the boundaries whose values a value is computed from, with none in between.
    """

    def __init__(self, forced: Forced | None = None) -> None:
        self.calls: list[ModuleCall] = []
        self.values: dict[Boundary, Tensor] = {}
        self.cotangents: dict[Boundary, Tensor] = {}
        self.sources: dict[Boundary, frozenset[Boundary]] = {}
        self._forced = forced or Forced()
        self._numbers: dict[str, int] = defaultdict(int)
        self._open: list[Call] = []

    def every_cotangent(self) -> dict[Boundary, Tensor]:
        """The cotangents of all values that have one; 0 where the loss does not depend on a value."""
        return {b: self.cotangents.get(b, torch.zeros_like(self.values[b])) for b in self.sources}

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Record what the model computes within the context; afterwards its hooks are as they were."""
        handles = []
        try:
            for path, module in model.named_modules():
                enter, leave = partial(self._enter, path), self._leave
                handles += [
                    module.register_forward_pre_hook(enter, with_kwargs=True),
                    module.register_forward_hook(leave),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if _is_backward():  # the model is checkpointed, and runs once more, from its end
            self._numbers[path] -= 1
            self._open.append(Call(path, self._numbers[path]))
            return self._cross(self._open[-1], End.INPUT, (args, kwargs))
        call = Call(path, self._numbers[path])
        self._numbers[path] += 1
        parent = self._open[-1] if self._open else None
        self.calls.append(
            ModuleCall(call=call, type=type(module).__name__, parent=parent, source=caller_outside("bntorch", "torch"))
        )
        self._open.append(call)
        return self._cross(call, End.INPUT, (args, kwargs))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> Any:
        return self._cross(self._open.pop(), End.OUTPUT, output)

    def _cross(self, call: Call, end: End, tree: Any) -> Any:
        leaves, structure = pytree.tree_flatten(tree)
        crossed = [
            self._cross_one(Boundary(call, end, pytree.keystr(path)), leaf) if isinstance(leaf, Tensor) else leaf
            for path, leaf in zip(_paths(tree), leaves, strict=True)
        ]
        return pytree.tree_unflatten(crossed, structure)

    def _cross_one(self, boundary: Boundary, value: Tensor) -> Tensor:
        if not _is_backward():
            self.values[boundary] = value.detach().clone()
        given = self._forced.values.get(boundary)
        replaced = value.detach() if given is None else as_result(like(given, value))
        # Other uses of what enters a module, around it say, are given the same. What was not computed is the user's;
        # and what is only rounded otherwise stays, since what it was computed by may look for it: a maximum does.
        is_computed = value.grad_fn is not None and 0 not in value.stride()
        if given is not None and boundary.end is End.INPUT and is_computed and not _is_near(value.detach(), replaced):
            value.data.copy_(replaced)
        if not value.requires_grad:
            return replaced.clone()
        self.sources[boundary] = _sources(value)
        return _Crossing.apply(value, replaced, boundary, self._cross_back)  # type: ignore[no-any-return]

    def _cross_back(self, boundary: Boundary, cotangent: Tensor) -> Tensor:
        self.cotangents[boundary] = cotangent.detach().clone()
        replaced = self._forced.cotangents.get(boundary)
        return cotangent if replaced is None else as_result(like(replaced, cotangent))


def _paths(tree: Any) -> Iterator[tuple[Any, ...]]:
    """The path of every leaf. A registered type may tell no keys, as the outputs of transformers: they are found."""
    for path, leaf in pytree.tree_flatten_with_path(tree, is_leaf=_tells_no_keys)[0]:
        if not _tells_no_keys(leaf):
            yield path
            continue
        children, _ = pytree.SUPPORTED_NODES[type(leaf)].flatten_fn(leaf)
        keys = list(leaf) if isinstance(leaf, Mapping) else []
        for number, child in enumerate(children):
            key = pytree.MappingKey(keys[number]) if len(keys) == len(children) else pytree.SequenceKey(number)
            yield from ((*path, key, *rest) for rest in _paths(child))


def _tells_no_keys(node: Any) -> bool:
    known = pytree.SUPPORTED_NODES.get(type(node))
    return known is not None and known.flatten_with_keys_fn is None


def _is_near(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors differ by rounding alone, which is some 1e-15 of their size."""
    return bool((one - other).abs().max() <= NEAR * other.abs().max()) if one.numel() else True


def _is_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _sources(value: Tensor) -> frozenset[Boundary]:
    """The nearest boundaries that the graph of a value leads back to."""
    found: set[Boundary] = set()
    waiting, seen = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(boundary := getattr(node, "boundary", None), Boundary):
            found.add(boundary)
        else:
            waiting += [each for each, _ in node.next_functions]
    return frozenset(found)


def like(array: Any, tensor: Tensor) -> Tensor:
    """Return numbers as a tensor of its own, with the device and dtype of another."""
    # Not `torch.tensor`, which would be on the caller's default device.
    return torch.from_numpy(np.array(array)).to(tensor.device, tensor.dtype)
