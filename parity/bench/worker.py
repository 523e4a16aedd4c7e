"""What a framework's process does for a benchmark. Each function is handed the backend of the process."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Mode, Population
from parity.bench.config import Case
from parity.bench.floor import Shape, best_seconds, numpy_seconds
from parity.clock import Meter, Use
from parity.errors import InputError
from parity.process import THREAD_SETTINGS
from parity.spec import DType
from parity.weights import Array, Weights, draw_weights

WARM_UP = 64  # updates, in one call: what the first call compiles, the second does not
TRIAL_UPDATES = 16  # updates by which the length of a block is chosen
FEWEST_UPDATES, MOST_UPDATES = 32, 4096  # in a block: below these, a call counts more than what it does
# Powers of two, which every dtype holds exactly; small, so that no network of the benchmark diverges.
HIGHEST_RATE, LOWEST_RATE = 2.0**-6, 2.0**-9


@dataclass(frozen=True)
class Key:
    """A mode in a case; `members` are those of a lane."""

    case: Case
    mode: str
    members: int
    dtype: DType = "float32"
    one_lane: bool = False


@dataclass(frozen=True)
class Prepared:
    """What became of a mode: how it is to be timed, or why it is not."""

    population: int = 0
    first_s: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """One update of one member, seen from outside.

    Args:
        before: the member's state, by neutral name.
        inputs: the minibatch, shape (batch, input_dim).
        labels: shape (batch,).
        learning_rate: of the member.
        loss: what the update showed.
        after: the state afterwards.
    """

    before: Weights
    inputs: Array
    labels: NDArray[np.integer]
    learning_rate: float
    loss: float
    after: Weights


@dataclass(frozen=True)
class Turn:
    """A mode's turn.

    Args:
        seconds: per update, of each block.
        use: of the processors.
    """

    seconds: list[float]
    use: Use


@dataclass
class _Running:
    population: Population
    rates: tuple[float, ...]
    lanes: int
    rng: np.random.Generator

    def indices(self, num_samples: int, updates: int, batch_size: int) -> NDArray[np.integer]:
        shape = (updates, batch_size) if self.lanes == 1 else (self.lanes, updates, batch_size)
        return self.rng.integers(num_samples, size=shape)


_running: dict[Key, _Running] = {}


def modes(backend: Any) -> Mapping[str, Mode]:
    """The ways to train that the backend offers."""
    offered = backend.modes()
    return {} if offered is None else offered.named


def accelerator(backend: Any) -> str:
    """Return the name of the GPU or TPU that a backend computes on, "" for none."""
    return backend.accelerator


def title(backend: Any) -> str:
    """The framework's name as its makers write it."""
    return backend.shown_name


def describe_modes(backend: Any) -> dict[str, Mode]:
    """The modes, without what makes them: that stays in this process."""
    return {name: replace(mode, of=None) for name, mode in modes(backend).items()}


def training_set(num_samples: int, spec: Any) -> tuple[Array, NDArray[np.integer]]:
    """Standard normal inputs and uniform labels, the same in every process."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((num_samples, spec.input_dim), np.float32)
    return inputs, rng.integers(spec.output_dim, size=num_samples)


def prepare(backend: Any, key: Key, num_samples: int) -> Prepared:
    """Make a mode ready to be timed."""
    try:
        mode = modes(backend)[key.mode]
        varied: Backend = mode.of(backend)
        lanes = (varied.lanes or 1) if mode.side_by_side and not key.one_lane else 1
        members = lanes * (key.members if mode.many else 1)
        rates = tuple(HIGHEST_RATE if m % 2 else LOWEST_RATE for m in range(members))
        start = time.perf_counter()
        inputs, labels = training_set(num_samples, key.case.spec)
        options = {} if varied.lanes is None else {"lanes": lanes}
        population = varied.population(
            key.case.spec, draw_weights(key.case.spec, 0), rates, inputs, labels, key.dtype, **options
        )
        running = _Running(population, rates, lanes, np.random.default_rng(1))
        population.run_pass(running.indices(num_samples, WARM_UP, key.case.batch_size))
        _running[key] = running
        return Prepared(members, time.perf_counter() - start)
    except InputError as error:
        return Prepared(note=str(error))


def take_turn(backend: Any, key: Key, num_samples: int, blocks: int, block_seconds: float) -> Turn:
    """Time `blocks` blocks of updates, each at least `block_seconds` long; every block is waited for."""
    running, size = _running[key], key.case.batch_size
    indices = running.indices(num_samples, TRIAL_UPDATES, size)
    start = time.perf_counter()
    running.population.run_pass(indices)
    enough = block_seconds / (time.perf_counter() - start) * TRIAL_UPDATES
    updates = round(min(max(enough, FEWEST_UPDATES), MOST_UPDATES))
    indices = running.indices(num_samples, updates, size)
    meter, found = Meter(), []
    for _ in range(blocks):
        start = time.perf_counter()
        running.population.run_pass(indices)
        found.append((time.perf_counter() - start) / updates)
    return Turn(found, meter.read())


def state(backend: Any, key: Key, member: int) -> Weights:
    """The state of a member."""
    return _running[key].population.weights(member)


def sample(backend: Any, key: Key, num_samples: int, member: int, batch: NDArray[np.integer]) -> Sample:
    """One update of all members on the samples `batch` in the lane of a member, and what it did to that one."""
    running, (inputs, labels) = _running[key], training_set(num_samples, key.case.spec)
    indices = running.indices(num_samples, 1, key.case.batch_size)
    lane = member * running.lanes // len(running.rates)
    if running.lanes == 1:
        indices[0] = batch
    else:
        indices[lane, 0] = batch
    before = running.population.weights(member)
    record = running.population.run_pass(indices)
    after = running.population.weights(member)
    loss = float(record.losses[0, member])
    return Sample(before, inputs[batch], labels[batch], running.rates[member], loss, after)


def release(backend: Any, keys: Sequence[Key]) -> None:
    """Forget modes that have been timed."""
    for key in keys:
        _running.pop(key, None)
    offered = backend.modes()
    if offered is not None and not _running:
        offered.forget()


def environment(backend: Any) -> dict[str, str]:
    """Versions, the settings of threads in force, and what else the backend says of where it runs."""
    offered, settings = backend.modes(), {name: os.environ.get(name, "") for name in THREAD_SETTINGS}
    return dict(backend.versions()) | settings | ({} if offered is None else dict(offered.environment))


def product_seconds(backend: Any, left: Shape, right: Shape) -> float:
    """Seconds of a matrix product on one device."""
    offered = backend.modes()
    if offered is None:
        return numpy_seconds(left, right)
    return best_seconds(offered.product(left, right)) / offered.products


def copy_seconds(backend: Any, size: int) -> float | None:
    """Seconds of a copy of `size` bytes on one device; None for a backend that has none of its own."""
    offered = backend.modes()
    return None if offered is None else best_seconds(offered.copy(size))


def profile(backend: Any, key: Key, num_samples: int) -> list[tuple[str, float]]:
    """The operations of a population of one lane, with the seconds that each takes."""
    prepared = prepare(backend, key, num_samples)
    if prepared.note:
        return []
    running = _running.pop(key)
    return backend.modes().profile(running.population, running.indices(num_samples, WARM_UP, key.case.batch_size))
