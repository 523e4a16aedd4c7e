"""The timed modes of training, in PyTorch."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bntorch.compiled import compiled, compiled_population
from bntorch.device import find_device
from bntorch.learner import Learner
from bntorch.parts import HONEST, Parts
from bntorch.population import Population
from bntorch.settings import matmul_precision
from bntorch.threads import one_thread_each
from bntorch.train import train_step
from bntorch.weights import to_numpy
from parity.backend import Mode, PassRecord, lane_batches, member_states
from parity.spec import DType, ModelSpec, Precision
from parity.weights import Array, Weights

Shape = tuple[int, ...]
PRODUCTS = 8  # in one call, to make the cost of the call itself small


class LoopPopulation:
    """One member, trained as by `minibatch_sgd_one_pass`, with one call of `train_step` for each update.

    The arguments are those of `Population`. A member counts as finite while its losses are.
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
        """Train the member, and wait for the result."""
        losses = []
        with self._learner.settings():
            for batch in torch.tensor(np.array(lane_batches(indices, 1)[0]), device=self._labels.device):
                inputs, labels = self._inputs[batch], self._labels[batch]
                self._learner.net, metrics = train_step(self._learner.net, inputs, labels, self._rate)
                losses.append(metrics["loss"])
            shown = to_numpy(torch.stack(losses))[:, None]
        return PassRecord(losses=shown, finite=np.isfinite(shown))

    def weights(self, member: int) -> Weights:
        """Return the state of the member, by neutral name."""
        return self._learner.weights()


class _OneThreadLoop(LoopPopulation):
    """The same, with one thread for each operation: those of a small network mostly wait for each other."""

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train the member, and wait for the result."""
        with one_thread_each(self._labels.device):
            return super().run_pass(indices)


def loop(backend: Any) -> Any:
    """Return the backend that trains in a loop of single updates."""
    return replace(backend, population_type=LoopPopulation)


def population(backend: Any) -> Any:
    """Return the backend as it is: the engine of the sweep."""
    return backend


def _one_thread_loop(backend: Any) -> Any:
    return replace(backend, population_type=_OneThreadLoop)


def _compiled_loop(backend: Any, compiler_mode: str = "default") -> Any:
    return loop(compiled(backend, compiler_mode))


MODES: dict[str, Mode] = {
    "eager_loop": Mode(of=loop, loop=True),
    "eager_loop_one_thread": Mode(of=_one_thread_loop),
    "compiled_step": Mode(of=_compiled_loop, compiles=True),
    "compiled_step_reduce_overhead": Mode(of=partial(_compiled_loop, compiler_mode="reduce-overhead"), compiles=True),
    "population_eager": Mode(of=population, many=True, side_by_side=True),
    "population_compiled": Mode(of=compiled_population, many=True, side_by_side=True, compiles=True),
}


def offered(device: str) -> dict[str, Mode]:
    """Return the modes that a device has: threads are a CPU's, and CUDA graphs, which save launches, a GPU's."""
    is_cpu = find_device(device).type == "cpu"
    left_out = "compiled_step_reduce_overhead" if is_cpu else "eager_loop_one_thread"
    is_single = torch.get_num_threads() == 1
    return {n: mode for n, mode in MODES.items() if n != left_out and not (is_single and n == "eager_loop_one_thread")}


def product(device: str, precision: Precision, left: Shape, right: Shape) -> Callable[[], None]:
    """Return a function that makes `PRODUCTS` products of float32 matrices on one device or CPU core, and waits."""
    own = find_device(device)
    x, y = torch.ones(left, device=own), torch.ones(right, device=own)
    out = torch.matmul(x, y)

    def multiply() -> None:
        with matmul_precision(precision), one_thread_each(own):
            for _ in range(PRODUCTS):
                torch.matmul(x, y, out=out)
            if own.type == "cuda":
                torch.cuda.synchronize()

    return multiply


def copy(device: str, size: int) -> Callable[[], None]:
    """Return a function that copies `size` bytes on one device and waits."""
    own = find_device(device)
    array = torch.ones(size // 4, device=own)
    out = torch.empty_like(array)

    def move() -> None:
        torch.neg(array, out=out)
        if own.type == "cuda":
            torch.cuda.synchronize()

    return move


def profile(population: Population, indices: NDArray[np.integer]) -> list[tuple[str, float]]:
    """Return the operations of `population.run_pass(indices)`, each with its seconds, by PyTorch's names."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with _silent(), torch.profiler.profile(activities=activities) as profiler:
        population.run_pass(indices)
    events = profiler.key_averages()
    found = {event.key: (event.self_device_time_total or event.self_cpu_time_total) / 1e6 for event in events}
    return sorted(found.items(), key=lambda item: -item[1])


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back what is written to standard error past Python, as the profiler tells of itself."""
    sys.stderr.flush()
    own = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


def environment(device: str) -> dict[str, str]:
    """Return the device and the number of threads."""
    own = find_device(device)
    name = torch.cuda.get_device_name(own) if own.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"torch device": f"{own.type}, {name}", "torch threads": str(torch.get_num_threads())}
