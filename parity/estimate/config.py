"""What is asked of a chip's compiler."""

from dataclasses import dataclass
from typing import get_args

from parity.backend.compiler import Chips
from parity.bench.config import Case
from parity.errors import InputError
from parity.estimate.chip import parse_chips
from parity.pair_bench.records import DTYPES
from parity.spec import Precision, check_count, check_values, use_python_values

MEMBERS = (16,)  # of a lane: of one lane, and of those that fill a chip
CASES = tuple(Case(depth=depth, populations=MEMBERS) for depth in (1, 8, 25))


@dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """All that is asked of a chip's compiler: about this project's networks, or about the two models of a pair.

    Args:
        compile_for: the chips, "v5e" or "v5e:4" say.
        frameworks: names of backends; none for those that have such a compiler.
        cases: networks; their populations are members of a lane.
        pair: the file or module of a pair, which then takes the place of the networks.
        batch_sizes: of the pair; none for what its inputs have.
        dtypes: of the pair's parameters and floating-point inputs.
        precision: of float32 matrix products.
        num_samples: of the training set of a sweep.

    Raises:
        InputError: a field breaks its rule.
    """

    compile_for: str
    frameworks: tuple[str, ...] = ()
    cases: tuple[Case, ...] = CASES
    pair: str = ""
    batch_sizes: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)
    precision: Precision = "highest"
    num_samples: int = 6000

    def __post_init__(self) -> None:
        use_python_values(self)
        _ = self.chips
        if self.precision not in get_args(Precision):
            raise InputError(f"precision must be of {', '.join(get_args(Precision))}, got {self.precision!r}")
        if not isinstance(self.pair, str):
            raise InputError(f"pair must be the file or module of a pair, got {self.pair!r}")
        if self.pair and self.frameworks:
            raise InputError("frameworks are those of this project's networks, and not of a pair; leave them out")
        if self.batch_sizes and not self.pair:
            raise InputError("batch_sizes are those of a pair; give the networks' own in their cases")
        are_cases = isinstance(self.cases, tuple) and all(isinstance(case, Case) for case in self.cases)
        if not self.pair and not (are_cases and self.cases):
            raise InputError(f"cases must be at least one Case, got {self.cases!r}; give a depth, for one")
        for name in ("frameworks", "batch_sizes"):
            if getattr(self, name) != ():
                object.__setattr__(self, name, check_values(name, getattr(self, name)))
        for size in self.batch_sizes:
            check_count("batch_sizes", size, 1, "a batch needs a sample")
            if size % self.chips.count:
                raise InputError(
                    f"{self.chips.count} chips cannot share a batch of {size} samples evenly; take another"
                )
        object.__setattr__(self, "dtypes", check_values("dtypes", self.dtypes))
        for dtype in self.dtypes:
            if dtype not in DTYPES:
                raise InputError(f"dtypes must be of {', '.join(DTYPES)}, got {dtype!r}")
        check_count("num_samples", self.num_samples, 1, "a minibatch needs a sample")

    @property
    def chips(self) -> Chips:
        """What is compiled for."""
        return parse_chips(self.compile_for)


def cannot_share(chips: int, size: int) -> str:
    """Return in a line why so many chips cannot share a batch of a size."""
    return f"{chips} chips cannot share a batch of {size} samples evenly; take another size"
