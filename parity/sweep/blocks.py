"""A block: what is trained at once, wherever it is trained, and what comes back."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.data import StandardizedData
from parity.divergence import Status
from parity.errors import InputError
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.identity import common_versions
from parity.sweep.records import Trial
from parity.sweep.train import Trained, Wanted, train


@dataclass(frozen=True)
class Block:
    """Groups that share a network, at the learning rates that they need next.

    Args:
        config: of the sweep.
        wanted: learning rates by group; the groups differ in their seeds only.
        digest: of the data.
        versions: and what else there must be where the block is trained, see `what_decides`.
        time_limit: seconds that it may take; None for no limit.
    """

    config: SweepConfig
    wanted: Wanted
    digest: str
    versions: Mapping[str, str]
    time_limit: float | None = None

    @property
    def framework(self) -> str:
        """Name of the backend that trains it."""
        return next(iter(self.wanted)).framework


@dataclass(frozen=True)
class Done:
    """What has become of a block.

    Args:
        trained: its trials.
        seconds: that it took.
    """

    trained: Trained
    seconds: float


def what_decides(backend: Any) -> dict[str, str]:
    """What must be the same wherever blocks are trained, for the same numbers: versions, and the kind of GPU."""
    kind = backend.accelerator
    return common_versions() | backend.versions() | ({"accelerator": kind} if kind else {})


def train_block(
    backend: Any, block: Block, data: StandardizedData, tick: Callable[[float], None] = lambda share: None
) -> Done:
    """Train a block where this is called.

    Raises:
        InputError: the framework here is another version, or a group does not fit into memory.
    """
    here = what_decides(backend)
    if different := [name for name, version in block.versions.items() if here.get(name) != version]:
        name = different[0]
        raise InputError(
            f"a worker has {name} {here.get(name)} where the sweep has {block.versions[name]}; "
            "numbers depend on it, so have the same everywhere"
        )
    start = time.perf_counter()
    return Done(train(backend, block.config, block.wanted, data, tick), time.perf_counter() - start)


def crashed(block: Block, message: str) -> Done:
    """Trials of status `error` for a block whose worker did not bring it to an end."""
    words = " ".join(message.split())
    return Done(
        {group: {r: _error(group, r, words) for r in rates} for group, rates in block.wanted.items()}, seconds=0.0
    )


def _error(group: Group, learning_rate: float, message: str) -> Trial:
    return Trial(group=group, learning_rate=learning_rate, status=Status.ERROR, message=message)
