"""What the populations of a sweep need of memory, and what there is."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import InputError
from parity.machine import bytes_in_words
from parity.spec import ModelSpec
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lanes import lanes_at_work, pad_lanes
from parity.weights import weight_shapes

ITEM_BYTES = 4  # of float32, the sweep's working dtype where a backend has it
STATES = 4  # of a member that trains: where the chunk began, the last update's, its gradient, the next
ACTIVATIONS = 6  # arrays of (batch, hidden_width) that a hidden layer keeps for its gradient, or makes on the way
EVALUATED = 2000  # samples that are evaluated at once
EVALUATED_MEMBERS = 64  # that are, of a population in one piece
SHARE = 0.8  # of what is free, that may be used: the estimate knows nothing of the framework itself
CGROUP = Path("/sys/fs/cgroup")


def needed_bytes(backend: Any, config: SweepConfig, groups: Sequence[Group], samples: int) -> int:
    """What it takes to train groups together, about.

    Args:
        backend: that is to train them.
        config: the sweep.
        groups: they differ in their seeds only.
        samples: in the training set; every lane at work holds a copy of it, and the data set one more.
    """
    spec, at_work = config.model_spec(groups[0]), lanes_at_work(backend, config, len(groups))
    members = pad_lanes(backend, config, len(groups)) * config.population_size
    weights = sum(int(np.prod(shape)) for shape in weight_shapes(spec).values())
    training = members * (STATES * weights + _training(spec, config.batch_size))
    evaluating = min(members, max(at_work * config.population_size, EVALUATED_MEMBERS)) * _evaluating(spec)
    return ITEM_BYTES * (training + evaluating + (1 + at_work) * samples * spec.input_dim)


def _training(spec: ModelSpec, batch_size: int) -> int:
    return ACTIVATIONS * spec.num_hidden_layers * spec.hidden_width * batch_size


def _evaluating(spec: ModelSpec) -> int:
    return EVALUATED * (spec.input_dim + 3 * spec.hidden_width)


def free_bytes(backend: Any) -> int | None:
    """Return the free bytes where a backend computes; None if unknown."""
    free = backend.free_bytes()
    return free if free is not None else _free_on_host()


def _free_on_host() -> int | None:
    found = []
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # a limit of "max" is none
        limit = int((CGROUP / "memory.max").read_text())
        found.append(limit - int((CGROUP / "memory.current").read_text()))
    return min(found, default=None)


def fitting(backend: Any, config: SweepConfig, groups: Sequence[Group], samples: int) -> Iterator[Sequence[Group]]:
    """The groups in as few parts as fit into memory, each to be trained together.

    Raises:
        InputError: a group alone does not fit.
    """
    most, free = len(groups), free_bytes(backend)
    while most > 1 and free is not None and needed_bytes(backend, config, groups[:most], samples) > SHARE * free:
        most -= 1
    _check_fit(str(groups[0]), needed_bytes(backend, config, groups[:1], samples), free)
    for start in range(0, len(groups), most):
        yield groups[start : start + most]


def check_memory(name: str, backend: Any, config: SweepConfig, samples: int, workers: int) -> None:
    """Refuse what does not fit into memory before any is run.

    Args:
        name: of the backend.
        backend: that is to train.
        config: the sweep.
        samples: in the training set.
        workers: that share its memory; 0 if that is not to be known here.

    Raises:
        InputError: its largest groups, one for each worker, do not fit.
    """
    free = free_bytes(backend)
    own = [group for group in config.groups() if group.framework == name]
    needs = sorted(((needed_bytes(backend, config, [group], samples), group) for group in own), reverse=True)[:workers]
    if not needs:
        return
    beside = f" with {len(needs) - 1} more beside it, on as many --workers," if len(needs) > 1 else ""
    _check_fit(f"{needs[0][1]}{beside}", sum(need for need, _ in needs), free)


def _check_fit(what: str, need: int, free: int | None) -> None:
    if free is not None and need > SHARE * free:
        raise InputError(
            f"{what} needs about {bytes_in_words(need)} of memory, and of {bytes_in_words(free)} that are free a sweep "
            f"takes {SHARE:.0%}; use fewer hidden layers or learning rates"
        )
