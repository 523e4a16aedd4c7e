"""What is measured of a pair, and what is found out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from parity.clock import Times
from parity.errors import InputError
from parity.spec import Precision, check_count, check_real, check_values, use_python_values

DTYPES = ("float32", "bfloat16", "float64")


@dataclass(frozen=True, kw_only=True)
class PairBenchConfig:
    """All that is asked of a pair's two models.

    Args:
        pair: its file or module.
        batch_sizes: samples in a batch; none for what the pair's inputs, the first set of them, have.
        dtypes: of parameters and floating-point inputs.
        precision: of float32 matrix products.
        blocks: timed blocks of a way each time that its side has its turn; there are two turns.
        block_seconds: about how long a block takes.

    Raises:
        InputError: a field breaks its rule.
    """

    pair: str
    batch_sizes: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)
    precision: Precision = "highest"
    blocks: int = 10
    block_seconds: float = 0.1

    def __post_init__(self) -> None:
        use_python_values(self)
        if not isinstance(self.pair, str) or not self.pair:
            raise InputError(f"pair must be the file or module of a pair, got {self.pair!r}")
        if self.batch_sizes != ():
            object.__setattr__(self, "batch_sizes", check_values("batch_sizes", self.batch_sizes))
        for size in self.batch_sizes:
            check_count("batch_sizes", size, 1, "a batch needs a sample")
        if self.precision not in get_args(Precision):
            raise InputError(f"precision must be of {', '.join(get_args(Precision))}, got {self.precision!r}")
        object.__setattr__(self, "dtypes", check_values("dtypes", self.dtypes))
        for dtype in self.dtypes:
            if dtype not in DTYPES:
                raise InputError(f"dtypes must be of {', '.join(DTYPES)}, got {dtype!r}")
        check_count("blocks", self.blocks, 2, "an interval needs two samples", 10_000)
        check_real("block_seconds", self.block_seconds, above=0, why="a block takes time")


@dataclass(frozen=True, kw_only=True)
class PairRow(Times):
    """One way to run one side. Times are microseconds for a batch. None: not measured.

    Args:
        side: "reference" or "candidate".
        framework: the side's.
        way: "eager", "compiled" or "jitted".
        task: "forward", in evaluation mode without gradients; "training step": forward, backward, the optimizer; or,
            where one side has no optimizer, "forward and backward".
        dtype: of parameters and floating-point inputs.
        batch_size: samples.
        peak_bytes: most memory that a run needs beside the model, its inputs and the optimizer's state.
        title: the framework's name as its makers write it.
    """

    side: str
    framework: str
    way: str
    task: str
    dtype: str
    batch_size: int
    peak_bytes: int | None = None
    title: str = ""

    @property
    def name(self) -> str:
        """The framework's name for people."""
        return self.title or self.framework

    @property
    def words(self) -> str:
        """What it is."""
        return f"the {self.task} of the {self.side} ({self.name}, {self.way}, {self.batch_size}, {self.dtype})"


@dataclass(frozen=True, kw_only=True)
class PairBenchReport:
    """All that was found out.

    Args:
        config: what was asked for.
        title: what the pair is called.
        verdict: of the forced pass and of the optimizers: only where it is "agree" anything is timed.
        not_compared: what of the two was not compared.
        rows: by dtype, batch size, task and side.
        environment: versions, machine and threads.
        command: that made it.
        seconds: that it took.
        complete: whether it came to its end.
        doubts: why its figures are not to be trusted, each in words; none if they are.
    """

    config: PairBenchConfig
    title: str
    verdict: str
    rows: tuple[PairRow, ...]
    environment: Mapping[str, str]
    command: str
    seconds: float
    complete: bool = True
    doubts: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the two compute the same, so that they were timed."""
        return self.verdict == "agree"

    @property
    def is_well(self) -> bool:
        """Whether there are figures, and they can be used."""
        return self.agrees and self.trusted

    @property
    def done(self) -> str:
        """What was done, in words."""
        return "what was done by then is shown"

    @property
    def trusted(self) -> bool:
        """Whether the machine was its own while it measured."""
        return not self.doubts
