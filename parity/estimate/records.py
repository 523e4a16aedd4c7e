"""What the compiler of a chip says. Nothing here is measured, but how long it takes to compile."""

from collections.abc import Mapping
from dataclasses import dataclass

from parity.estimate.chip import CHIPS, Chip
from parity.estimate.config import EstimateConfig


@dataclass(frozen=True, kw_only=True)
class EstimateRow:
    """A program, of which all figures are for one of the chips. If it has a loop, whose operations the compiler counts
    once, there are none but those of memory.

    Args:
        framework: that compiles it.
        group: what it is of: a network, or a batch of the pair.
        program: its name.
        dtype: working dtype.
        models: that one run of it has on each chip.
        per: what operations, bytes and times are for: a model-step, say.
        compile_s: seconds to compile it here.
        memory_bytes: that it needs on each chip.
        fits: whether a chip has so much; None if it was not compiled for another reason.
        operations: floating-point operations, as `Compiled` has them.
        moved_bytes: that its operations read and write, of which some never leave the chip.
        estimate_us: the compiler's own estimate, in microseconds.
        not_estimated: operations of one run that it has no estimate of, which are left out of it.
        roofline_us: see `parity.estimate.chip.roofline_of`.
        roofline_by: "operations" or "memory".
        note: why it was not compiled, or has no times.
    """

    framework: str
    group: str
    program: str
    dtype: str
    models: int
    per: str
    compile_s: float | None = None
    memory_bytes: int | None = None
    fits: bool | None = None
    operations: float | None = None
    moved_bytes: float | None = None
    estimate_us: float | None = None
    not_estimated: int | None = None
    roofline_us: float | None = None
    roofline_by: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class EstimateReport:
    """All that was said.

    Args:
        config: what was asked for.
        title: what the programs are of.
        rows: by group and program.
        left_out: what was asked for and not compiled, each in words.
        differs: why nothing was compiled of a pair whose two models do not compute the same; "" if they do.
        environment: versions.
        command: that made it.
        seconds: that it took.
        complete: whether it came to its end.
    """

    config: EstimateConfig
    title: str
    rows: tuple[EstimateRow, ...]
    environment: Mapping[str, str]
    command: str
    seconds: float
    left_out: tuple[str, ...] = ()
    differs: str = ""
    complete: bool = True

    @property
    def chip(self) -> Chip:
        """The chip that is compiled for."""
        return CHIPS[self.config.chips.kind]

    @property
    def is_well(self) -> bool:
        """Whether every program was compiled, and fits."""
        return self.complete and bool(self.rows) and all(row.fits for row in self.rows)

    @property
    def done(self) -> str:
        """What was done, in words."""
        return f"{len(self.rows)} programs are done"
