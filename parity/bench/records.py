"""What a benchmark finds out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.bench.config import BenchConfig, Case
from parity.clock import Times


@dataclass(frozen=True, kw_only=True)
class Row(Times):
    """One mode in one case. Times are microseconds per model-step: one SGD update of one model. None: not measured.

    Args:
        framework: name of the backend.
        mode: name of the way to train.
        device: where it ran.
        precision: of float32 matrix products.
        case: the network and its training.
        population: how many models were trained at once, on all devices together.
        floor_us: what the machine needs at least; see `parity.bench.floor`.
        own_floor_us: the same with no other products than the framework's own; None if its process has ended.
        ratio_to_floor: `median_us / floor_us`.
        ratio_to_lab_loop: the lab's loop over this one; above 1 is faster.
        title: the framework's name as its makers write it.
    """

    framework: str
    mode: str
    device: str
    precision: str
    case: Case
    population: int
    floor_us: float | None = None
    own_floor_us: float | None = None
    ratio_to_floor: float | None = None
    ratio_to_lab_loop: float | None = None
    title: str = ""

    @property
    def name(self) -> str:
        """The framework's name for people."""
        return self.title or self.framework

    @property
    def way(self) -> str:
        """The framework and the mode, in words."""
        models = f" of {self.population}" if self.population > 1 else ""
        return f"{self.name}'s {self.mode.replace('_', ' ')}{models}"

    @property
    def words(self) -> str:
        """The same, and the case."""
        return f"{self.way} at {self.case}"


@dataclass(frozen=True)
class Operation:
    """An operation in a profile.

    Args:
        name: the framework's own.
        share: of the time of all operations.
    """

    name: str
    share: float


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """All that a benchmark found out, and how.

    Args:
        config: what was asked for.
        rows: by case, framework and mode.
        profiles: where the time of a framework's population goes, by framework.
        environment: versions, machine, threads and flags.
        command: what made it.
        seconds: that it took.
        complete: whether it came to its end.
        doubts: why its figures are not to be trusted, each in words; none if they are.
    """

    config: BenchConfig
    rows: tuple[Row, ...]
    environment: Mapping[str, str]
    command: str
    seconds: float
    profiles: Mapping[str, tuple[Operation, ...]] = field(default_factory=dict)
    complete: bool = True
    doubts: tuple[str, ...] = ()

    def title(self, framework: str) -> str:
        """A framework's name for people."""
        return next((row.name for row in self.rows if row.framework == framework), framework)

    @property
    def trusted(self) -> bool:
        """Whether the machine was its own while it measured."""
        return not self.doubts

    @property
    def is_well(self) -> bool:
        """Whether the figures can be used."""
        return self.trusted

    @property
    def done(self) -> str:
        """What was done, in words."""
        return f"{len({row.case for row in self.rows})} of {len(self.config.cases)} cases are done"
