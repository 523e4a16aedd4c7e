"""The timed ways to run, in PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bntorch.backend import TorchBackend
from bntorch.device import find_device, matmul_precision, one_thread_each
from bntorch.learner import Learner
from bntorch.members import StackedMembers
from bntorch.parts import HONEST, Parts
from bntorch.population import Population
from bntorch.train import train_step
from bntorch.variants import compiled_apply, find_compiler
from bntorch.weights import to_numpy
from parity.backend import Mode, PassRecord, lane_batches, member_states
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

Shape = tuple[int, ...]
PRODUCTS = 8  # in one call, so that the call itself counts little


class LoopPopulation:
    """One member, trained as `minibatch_sgd_one_pass` does it, by a call of `train_step` for each update.

    The arguments are those of `Population`. Whether all is finite is told from the losses, as from that loop.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array] | Sequence[Mapping[str, Array]],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType = "float32",
        lanes: int = 1,
        parts: Parts = HONEST,
        device: str = "",
        precision: Precision = "highest",
    ) -> None:
        (state,), (self._rate,) = member_states(weights, learning_rates, lanes), learning_rates
        self._learner = Learner(spec, state, dtype, parts, device, precision)
        with self._learner.settings():
            weight = self._learner.net.head.weight
            self._inputs = torch.tensor(inputs, dtype=weight.dtype, device=weight.device)
            self._labels = torch.tensor(labels, dtype=torch.int64, device=weight.device)

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train the member, and wait for it."""
        losses = []
        with self._learner.settings():
            for batch in torch.tensor(np.array(lane_batches(indices, 1)[0]), device=self._labels.device):
                inputs, labels = self._inputs[batch], self._labels[batch]
                self._learner.net, metrics = train_step(self._learner.net, inputs, labels, self._rate)
                losses.append(metrics["loss"])
            shown = to_numpy(torch.stack(losses))[:, None]
        return PassRecord(losses=shown, finite=np.isfinite(shown))

    def weights(self, member: int) -> Weights:
        """The state of the member, by neutral name."""
        del member
        return self._learner.weights()


class LoopBackend(TorchBackend):
    """Trains by `LoopPopulation`."""

    _population: Any = LoopPopulation


class CompiledMembers(StackedMembers):
    """Members whose forward and backward passes are compiled."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.losses = torch.compile(super().losses, dynamic=False)


class CompiledPopulation(Population):
    """A population of `CompiledMembers`."""

    _stacked = CompiledMembers


class CompiledBackend(TorchBackend):
    """Trains by `CompiledPopulation`."""

    _population: Any = CompiledPopulation


def loop(backend: TorchBackend) -> TorchBackend:
    """A loop of single updates."""
    return LoopBackend(backend.device, backend.precision, backend.parts)


def compiled_loop(backend: TorchBackend, mode: str = "default") -> TorchBackend:
    """The loop, with the forward and backward passes compiled.

    Raises:
        InputError: there is no compiler.
    """
    find_compiler(backend.device)
    return loop(replace(backend, parts=replace(backend.parts, apply=partial(compiled_apply, compiler_mode=mode))))


def population(backend: TorchBackend) -> TorchBackend:
    """The engine of the sweep."""
    return backend


def compiled_population(backend: TorchBackend) -> TorchBackend:
    """The engine of the sweep, with the forward and backward passes compiled.

    Raises:
        InputError: there is no compiler.
    """
    find_compiler(backend.device)
    return CompiledBackend(backend.device, backend.precision, backend.parts)


MODES: dict[str, Mode] = {
    "eager_loop": Mode(of=loop, loop=True),
    "compiled_step": Mode(of=compiled_loop, compiles=True),
    "compiled_step_reduce_overhead": Mode(of=partial(compiled_loop, mode="reduce-overhead"), compiles=True),
    "population_eager": Mode(of=population, many=True, side_by_side=True),
    "population_compiled": Mode(of=compiled_population, many=True, side_by_side=True, compiles=True),
}


def product(backend: TorchBackend, left: Shape, right: Shape) -> Callable[[], None]:
    """A call of it makes `PRODUCTS` matrix products of float32 operands on one device, a CPU's core, and waits."""
    device = find_device(backend.device)
    x, y = torch.ones(left, device=device), torch.ones(right, device=device)
    out = torch.matmul(x, y)

    def multiply() -> None:
        with matmul_precision(backend.precision), one_thread_each(device):
            for _ in range(PRODUCTS):
                torch.matmul(x, y, out=out)
            if device.type == "cuda":
                torch.cuda.synchronize()

    return multiply


def copy(backend: TorchBackend, size: int) -> Callable[[], None]:
    """A call of it copies `size` bytes on one device, and waits."""
    device = find_device(backend.device)
    array = torch.ones(size // 4, device=device)
    out = torch.empty_like(array)

    def move() -> None:
        torch.neg(array, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return move


def profile(population: Population, indices: NDArray[np.integer]) -> list[tuple[str, float]]:
    """Operations of `population.run_pass(indices)`, each with its seconds, by PyTorch's names."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        population.run_pass(indices)
    events = profiler.key_averages()
    found = {event.key: (event.self_device_time_total or event.self_cpu_time_total) / 1e6 for event in events}
    return sorted(found.items(), key=lambda item: -item[1])


def environment(backend: TorchBackend) -> dict[str, str]:
    """Where it computes, and with how many threads."""
    device = find_device(backend.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"torch device": f"{device.type}, {name}", "torch threads": str(torch.get_num_threads())}
