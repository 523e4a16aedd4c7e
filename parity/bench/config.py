"""What a benchmark measures."""

from dataclasses import dataclass, field, replace
from typing import Any

from parity.errors import InputError
from parity.spec import (
    ModelSpec,
    Precision,
    check_count,
    check_real,
    check_training_batch,
    check_values,
    use_python_values,
)

MOST_LAYERS = 1000
MOST_MEMBERS = 4096


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network and its training, timed in every mode.

    Args:
        depth: number of hidden layers.
        width: units in each.
        batch_size: samples in a minibatch.
        batch_norm: whether the hidden layers have batch norm.
        populations: members of a lane, for the modes that train many; each is a row.
        compiled: whether modes are run that wait for a compiler.
        loops: whether modes are run that train a single member.
    """

    depth: int = 1
    width: int = 64
    batch_size: int = 32
    batch_norm: bool = True
    populations: tuple[int, ...] = (8, 16)
    compiled: bool = True
    loops: bool = True

    def __post_init__(self) -> None:
        use_python_values(self)
        check_count("depth", self.depth, 1, "a depth counts hidden layers", MOST_LAYERS)
        check_count("batch_size", self.batch_size, 1, "an update needs a sample")
        if self.batch_norm:
            check_training_batch(self.batch_size)
        object.__setattr__(self, "populations", check_values("populations", self.populations))
        for members in self.populations:
            check_count("members", members, 1, "a population needs one", MOST_MEMBERS)
        _ = self.spec

    @property
    def spec(self) -> ModelSpec:
        """The network."""
        return ModelSpec(num_hidden_layers=self.depth, hidden_width=self.width, use_batch_norm=self.batch_norm)

    def __str__(self) -> str:
        norm = "with" if self.batch_norm else "without"
        return f"depth {self.depth}, width {self.width}, batch {self.batch_size}, {norm} batch norm"


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """All that a benchmark is asked for.

    Args:
        frameworks: names of backends, in the order in which they take turns.
        cases: what is timed.
        device: "cpu", "gpu", "tpu", or "" for each framework's own choice.
        precision: of float32 matrix products, forced in every framework.
        blocks: timed blocks of a mode each time that its framework has its turn; there are two turns.
        block_seconds: about how long a block takes.
        num_samples: of the training set, which is standard normal noise: what the numbers are does not matter to time.
        time_limit: seconds that one answer of a framework may take.
        profile_depth: of the network whose time is broken down by operation; 0 for none.

    Raises:
        InputError: a field breaks its rule.
    """

    frameworks: tuple[str, ...]
    cases: tuple[Case, ...] = field(default_factory=lambda: QUICK)
    device: str = ""
    precision: Precision = "highest"
    blocks: int = 4
    block_seconds: float = 0.1
    num_samples: int = 6000
    time_limit: float = 600.0
    profile_depth: int = 0

    def __post_init__(self) -> None:
        use_python_values(self)
        object.__setattr__(self, "frameworks", check_values("frameworks", self.frameworks))
        if not self.cases or not all(isinstance(case, Case) for case in self.cases):
            raise InputError(f"cases must be at least one Case, got {self.cases!r}; give a depth, for one")
        if self.precision not in ("highest", "tf32", "bfloat16"):
            raise InputError(f"precision must be highest, tf32 or bfloat16, got {self.precision!r}")
        check_count("blocks", self.blocks, 2, "an interval needs two samples", 10_000)
        check_real("block_seconds", self.block_seconds, above=0, why="a block takes time")
        check_real("time_limit", self.time_limit, above=0, why="an answer takes time")
        check_count("num_samples", self.num_samples, 1, "a minibatch needs a sample")
        check_count("profile_depth", self.profile_depth, 0, "0 is for no profile", MOST_LAYERS)


def _scaling(base: Case, widths: tuple[int, ...], batches: tuple[int, ...], populations: tuple[int, ...]) -> list[Case]:
    """Cases that differ from a base in one thing."""
    few: dict[str, Any] = {"compiled": False, "populations": base.populations[:1]}
    return [
        *(replace(base, width=width, **few) for width in widths),
        *(replace(base, batch_size=size, **few) for size in batches),
        replace(base, populations=populations, compiled=False, loops=False),
    ]


_DEEP = Case(depth=8)
QUICK = (
    Case(depth=1),
    Case(depth=8),
    Case(depth=25),
    Case(depth=8, batch_norm=False, populations=(8,), compiled=False),
    *_scaling(_DEEP, widths=(256,), batches=(128,), populations=(2, 32)),
)
FULL = (
    *(
        Case(depth=depth, batch_norm=on, compiled=depth in (1, 8))
        for depth in (1, 2, 4, 8, 25, 50)
        for on in (True, False)
    ),
    *_scaling(Case(depth=1), widths=(16, 256, 512), batches=(8, 128, 512), populations=(1, 2, 4, 32, 64)),
    *_scaling(_DEEP, widths=(16, 256, 512), batches=(8, 128, 512), populations=(1, 2, 4, 32, 64)),
)
PRESETS = {"quick": (QUICK, 4), "full": (FULL, 5)}
"""The cases and the number of blocks of each preset."""
