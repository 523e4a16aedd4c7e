"""How fast this machine trains, by a moment's training."""

import time
from dataclasses import dataclass, replace
from typing import Self

from parity.backend import Backend
from parity.data import StandardizedData, updates_per_pass
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lanes import lanes_at_work
from parity.sweep.train import train

FEW, MORE = 64, 256  # updates; a look at who has diverged is after every 64
EVALUATED_FEW = 1000  # test samples
DEEPEST = 25  # a deeper network is not tried, since to compile it takes long


@dataclass(frozen=True)
class Speed:
    """Seconds of a network.

    Args:
        compiling: before it is trained for the first time.
        block: of each block that is trained, however long.
        update: of one update of as many lanes as are at work at a time.
        sample: of the evaluation of one sample by them.
    """

    compiling: float
    block: float
    update: float
    sample: float

    def towards(self, other: Self, share: float) -> "Speed":
        """Return what lies on the line to another: itself at a share of 0, the other at 1. Nothing is below 0."""
        fields = ("compiling", "block", "update", "sample")
        ends = ((getattr(self, name), getattr(other, name)) for name in fields)
        return Speed(*(max(0.0, ours + share * (theirs - ours)) for ours, theirs in ends))


@dataclass(frozen=True)
class Speeds:
    """What is known of a framework: of its shallowest and of a deep network. Between them time grows by the layer."""

    shallow: tuple[int, Speed]
    deep: tuple[int, Speed]

    def at(self, depth: int) -> Speed:
        """Return what to expect at a depth."""
        (low, shallow), (high, deep) = self.shallow, self.deep
        return shallow if low == high else shallow.towards(deep, (depth - low) / (high - low))


def measure_speeds(backend: Backend, config: SweepConfig, framework: str, data: StandardizedData) -> dict[bool, Speeds]:
    """Train for a moment, with and without batch norm as the sweep does; return what to expect of either.

    Args:
        backend: trains.
        config: the sweep.
        framework: the backend's name in it.
        data: that the sweep trains on.
    """
    depths = min(config.depths), max((d for d in config.depths if d <= DEEPEST), default=min(config.depths))
    found = {}
    for on in config.batch_norm:
        measured = {depth: _measure(backend, config, Group(framework, depth, on, 0), data) for depth in set(depths)}
        found[on] = Speeds(*((depth, measured[depth]) for depth in depths))
    return found


def _measure(backend: Backend, config: SweepConfig, group: Group, data: StandardizedData) -> Speed:
    """Train a group at its lowest rates, which do not diverge: first, again, longer, and evaluated on more."""
    lanes = lanes_at_work(backend, config, config.num_seeds)
    seeds = range(min(lanes, config.num_seeds))
    rates = config.learning_rates.values()[: max(1, lanes // len(seeds)) * config.population_size]
    wanted = {replace(group, seed=seed): rates for seed in seeds}

    def seconds(updates: int, evaluated: int) -> tuple[float, int, int]:
        cut, passes = _cut(config, data, updates, evaluated)
        start = time.perf_counter()
        train(backend, passes, wanted, cut)
        done = passes.num_passes * updates_per_pass(len(cut.train_labels), config.batch_size)
        return time.perf_counter() - start, done, len(cut.train_labels) + len(cut.test_labels)

    first, again = (seconds(FEW, EVALUATED_FEW) for _ in range(2))
    longer, wider = seconds(MORE, EVALUATED_FEW), seconds(FEW, len(data.test_labels))
    update = max(0.0, longer[0] - again[0]) / max(1, longer[1] - again[1])
    sample = max(0.0, wider[0] - again[0]) / max(1, wider[2] - again[2])
    block = max(0.0, again[0] - update * again[1] - sample * again[2])
    return Speed(max(0.0, first[0] - again[0]), block, update, sample)


def _cut(
    config: SweepConfig, data: StandardizedData, updates: int, evaluated: int
) -> tuple[StandardizedData, SweepConfig]:
    """Some passes over a few samples, that are some updates together; and some test samples."""
    count = min(FEW * config.batch_size, len(data.train_labels))
    share = config.fraction * count / len(data.train_labels)
    passes = max(1, round(updates / updates_per_pass(count, config.batch_size)))
    cut = replace(
        data,
        train_inputs=data.train_inputs[:count],
        train_labels=data.train_labels[:count],
        test_inputs=data.test_inputs[:evaluated],
        test_labels=data.test_labels[:evaluated],
    )
    return cut, replace(config, num_passes=passes, fraction=share)
