"""Honest variants: each computes the same in another way, so nothing may be held against it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from bntorch.backend import TorchBackend
from bntorch.device import find_device
from bntorch.parts import mode
from parity.errors import InputError


def compiled(backend: TorchBackend) -> TorchBackend:
    """The forward and backward passes as compiled programs.

    Raises:
        InputError: there is no C++ compiler, which `torch.compile` needs on a CPU.
    """
    find_compiler(backend.device)
    return replace(backend, parts=replace(backend.parts, apply=compiled_apply))


def find_compiler(device: str = "") -> None:
    """Raise `InputError` unless there is what `torch.compile` needs."""
    compilers = [os.environ.get("CXX") or "g++", "clang++"]
    if find_device(device).type == "cpu" and not any(shutil.which(compiler) for compiler in compilers):
        raise InputError(f"torch.compile needs a C++ compiler, and there is no {' or '.join(compilers)}; install one")


def stock_norm(backend: TorchBackend) -> TorchBackend:
    """Moments by `torch.var_mean`, and PyTorch's own normalization."""
    return replace(backend, parts=replace(backend.parts, batch_moments=_stock_moments, normalize=_stock_normalize))


def _stock_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    var, mean = torch.var_mean(x, dim=0, correction=0)
    return mean, var


def _stock_normalize(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, bias: Tensor, eps: float, train: bool
) -> Tensor:
    if train:  # it finds the batch's moments by itself
        return functional.batch_norm(x, None, None, scale, bias, training=True, eps=eps)
    return functional.batch_norm(x, mean, var, scale, bias, training=False, eps=eps)


def compiled_apply(
    net: nn.Module,
    inputs: Tensor,
    train: bool,
    activations: dict[str, Tensor] | None = None,
    masks: Tensor | None = None,
    compiler_mode: str = "default",
) -> Tensor:
    """`parts.apply` as a compiled program."""
    if net._compiled_call_impl is None:
        net.compile(mode=compiler_mode)
    with mode(net, train):
        return net(inputs, activations, masks)


VARIANTS: dict[str, Callable[[TorchBackend], TorchBackend]] = {
    "compiled": compiled,
    "stock_norm": stock_norm,
}
