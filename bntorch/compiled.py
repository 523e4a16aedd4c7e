"""The forward and backward passes as programs of `torch.compile`."""

import os
import shutil
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bntorch.device import find_device
from bntorch.module_state import mode
from bntorch.parts import Forward
from bntorch.population import Population
from bntorch.stacked import StackedMembers
from parity.errors import InputError


def find_compiler(device: str = "") -> None:
    """Raise `InputError` unless `torch.compile` has a compiler for the device."""
    compilers = [os.environ.get("CXX") or "g++", "clang++"]
    if find_device(device).type == "cpu" and not any(shutil.which(compiler) for compiler in compilers):
        raise InputError(f"torch.compile needs a C++ compiler, and there is no {' or '.join(compilers)}; install one")


def compiled(backend: Any, compiler_mode: str = "default") -> Any:
    """Return the backend whose forward and backward passes are compiled programs.

    Raises:
        InputError: there is no C++ compiler, which `torch.compile` needs on a CPU.
    """
    find_compiler(backend.device)
    return replace(backend, parts=replace(backend.parts, apply=partial(compiled_apply, compiler_mode=compiler_mode)))


def compiled_population(backend: Any) -> Any:
    """Return the engine of the sweep, with compiled forward and backward passes.

    Raises:
        InputError: there is no compiler.
    """
    find_compiler(backend.device)
    return replace(backend, population_type=CompiledPopulation)


class CompiledMembers(StackedMembers):
    """Members whose forward and backward passes are compiled."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.losses = torch.compile(super().losses, dynamic=False)


class CompiledPopulation(Population):
    """A population of `CompiledMembers`."""

    stacked_type = CompiledMembers


def compiled_apply(
    net: Any, inputs: Tensor, train: bool, masks: Tensor | None = None, compiler_mode: str = "default"
) -> Forward:
    """Run `parts.apply` as a compiled program."""
    if "compiled_pass" not in vars(net):
        net.compiled_pass = torch.compile(net.with_activations, mode=compiler_mode)
    with mode(net, train):
        logits, activations = net.compiled_pass(inputs, masks)
    return Forward(logits, net, activations)
