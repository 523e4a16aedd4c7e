"""The command `bnparity bench`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from parity.bench.config import PRESETS as CASES
from parity.bench.config import BenchConfig, Case
from parity.commands.check import BATCH_NORM
from parity.commands.options import Device, Framework
from parity.commands.result_files import NOTHING, OutputFile, cleared, paths_of
from parity.commands.sweep import choose_frameworks
from parity.commands.terminal import ErrorConsole, exit_status, print_error, show
from parity.errors import InputError
from parity.estimate.config import MEMBERS, EstimateConfig
from parity.pair_bench.records import PairBenchConfig
from parity.progress import console_progress
from parity.signals import Interrupted, handle_signals

OF_CLOCK = ("compiled", "profile", "device", "blocks")
PROFILED_DEPTH = 8  # in the presets
OF_CASES = ("widths", "batch_sizes", "populations", "batch_norm", "compiled")
OF_NETWORKS = ("preset", "framework", "depths", "widths", "populations", "batch_norm", "compiled", "profile", "device")
Numbers = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N [N ...]", help_behavior_hint="(default: the preset's)")]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Which framework is faster here, in which mode, measured fairly.

    Every mode trains the same networks on the same minibatches, in processes that take turns; a time counts only if the
    mode's steps are those of the reference. Times are microseconds per model-step, one SGD update of one model.
    """

    pair: Annotated[str, tyro.conf.arg(metavar="PAIR", help_behavior_hint="(default: this project's networks)")] = ""
    """Time the two models of a pair, a file or a module as of compare, if they compute the same: forward, and a whole
    training step, in every way of their frameworks. Of the options below --batch-sizes, --dtypes, --blocks and
    --precision are for it."""
    compile_for: Annotated[str, tyro.conf.arg(metavar="CHIP[:4]", help_behavior_hint="(default: none)")] = ""
    """Time nothing, but ask the compiler of v4, v5e, v5p or v6e, of one chip or of four: do the programs of this
    project's networks, or of --pair, compile, do they fit, and how long will they take? Needs the extra tpu."""
    dtypes: Annotated[
        tuple[Literal["float32", "bfloat16", "float64"], ...], tyro.conf.arg(help_behavior_hint="(default: float32)")
    ] = ()
    """Of a pair's parameters and inputs; needs --pair."""
    preset: Literal["quick", "full"] = "quick"
    """quick: depths 1, 8, 25, some five minutes. full: depths 1 to 50, more widths and batches, some 25."""
    framework: Framework = ""
    """The framework to time."""
    depths: Numbers = ()
    """Numbers of hidden layers, in place of the preset's cases."""
    widths: Numbers = ()
    """Units in each hidden layer (64 unless said otherwise); needs --depths."""
    batch_sizes: Numbers = ()
    """Samples in a minibatch (32 unless said otherwise); needs --depths."""
    populations: Numbers = ()
    """Members of a lane (8 and 16 unless said otherwise); needs --depths."""
    batch_norm: Literal["on", "off", "both"] = "on"
    """Whether the hidden layers have batch norm; with --depths."""
    compiled: bool = True
    """Time the modes too that wait for a compiler, as torch.compile; without, with --depths."""
    profile: bool = False
    """Say too where the time of a population goes, by operation."""
    blocks: Annotated[
        int | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: 4; full: 5; of a pair: 10)")
    ] = None
    """Timed blocks of a mode in each of its two turns."""
    device: Device = ""
    """Where to compute."""
    precision: Literal["highest", "tf32", "bfloat16"] = "highest"
    """Of float32 matrix products, in every framework."""
    json: OutputFile = NOTHING
    """Write the table and all samples as JSON."""
    html: OutputFile = NOTHING
    """Write the table and its figures as a page."""

    def run(self, command: str) -> int:
        """Print the answers and the tables; 1 if the figures are not to be trusted, 130 if it was cut off."""
        if self.compile_for:
            return self._run_estimate(command)
        if self.pair:
            return self._run_pair(command)
        if self.dtypes:
            raise InputError("--dtypes needs --pair, whose two models are then timed in them")
        from parity.bench.output import write_json
        from parity.bench.run import bench
        from parity.bench.screen import print_report

        face = _Face(bench, print_report, write_json, "write_bench_report")
        return self._carry_out(face, self.config(), command)

    def _run_pair(self, command: str) -> int:
        from parity.pair_bench.run import bench_pair
        from parity.pair_bench.screen import print_report, write_json

        face = _Face(bench_pair, print_report, write_json, "write_pair_bench_report")
        return self._carry_out(face, self._pair_config(), command)

    def _run_estimate(self, command: str) -> int:
        from parity.estimate import estimate
        from parity.estimate.screen import print_report, write_json

        for option in self._given((*OF_CLOCK, *(OF_NETWORKS if self.pair else ()))):
            raise InputError(f"{option} is not for --compile-for{' with --pair' * bool(self.pair)}")
        if self.dtypes and not self.pair:
            raise InputError("--dtypes needs --pair, whose two models are then compiled in them")
        given: dict[str, Any] = {"dtypes": self.dtypes} if self.dtypes else {}
        if self.pair:
            given |= {"pair": self.pair, "batch_sizes": self.batch_sizes}
        else:
            given["frameworks"] = choose_frameworks(self.framework)
            own = self._cases(populations=MEMBERS)
            given |= {"cases": own} if own else {"cases": CASES["full"][0]} if self.preset == "full" else {}
        config = EstimateConfig(compile_for=self.compile_for, precision=self.precision, **given)
        return self._carry_out(_Face(estimate, print_report, write_json, "write_estimate_report"), config, command)

    def _carry_out(self, face: "_Face", config: Any, command: str) -> int:
        """Measure, write the files, print the report, and return the exit status."""
        paths, status = paths_of(json=self.json, html=self.html), 0
        # Where no row is done there is nothing to write in the place of what an earlier run has left.
        kept = InputError, KeyboardInterrupt
        with cleared(paths, kept), handle_signals(console_progress(ErrorConsole())) as progress:
            try:
                report = face.measure(config, progress=progress, command=command)
            except Interrupted as interruption:
                report, status = interruption.report, exit_status(interruption)
                if not report.rows:
                    raise
        for option, path in paths.items():
            {"--json": face.write_json, "--html": face.write_page}[option](report, path)
        show(lambda console: face.print_report(report, console))
        if not report.complete:
            print_error(f"interrupted; {report.done}")
        return status or int(not report.is_well)

    def _pair_config(self) -> PairBenchConfig:
        """What is measured of a pair.

        Raises:
            InputError: an option is not for a pair, or breaks its rule.
        """
        for option in self._given(OF_NETWORKS):
            raise InputError(f"{option} is for this project's networks, and not for --pair")
        given: dict[str, Any] = {"blocks": self.blocks} if self.blocks is not None else {}
        given |= {"dtypes": self.dtypes} if self.dtypes else {}
        return PairBenchConfig(pair=self.pair, batch_sizes=self.batch_sizes, precision=self.precision, **given)

    def config(self) -> BenchConfig:
        """What is measured.

        Raises:
            InputError: an option breaks its rule.
        """
        cases, blocks = CASES[self.preset]
        return BenchConfig(
            frameworks=choose_frameworks(self.framework),
            cases=self._cases() or cases,
            device=self.device,
            precision=self.precision,
            profile_depth=(self.depths or (PROFILED_DEPTH,))[0] if self.profile else 0,
            blocks=blocks if self.blocks is None else self.blocks,
        )

    def _given(self, names: tuple[str, ...]) -> Iterator[str]:
        """Yield those of some options that are not as they are by default."""
        for name in names:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                yield f"--{'no-' * (name == 'compiled')}{name.replace('_', '-')}"

    def _cases(self, populations: tuple[int, ...] = ()) -> tuple[Case, ...]:
        """The cases that the options name, if no populations are given with these; none if they name no depth."""
        if not self.depths:
            for option in self._given(OF_CASES):
                raise InputError(f"{option} needs --depths, which takes the place of the preset's cases")
            return ()
        populations = self.populations or populations
        more: dict[str, Any] = {"populations": populations} if populations else {}
        return tuple(
            Case(depth=depth, width=width, batch_size=size, batch_norm=on, compiled=self.compiled, **more)
            for depth in self.depths
            for width in self.widths or (64,)
            for size in self.batch_sizes or (32,)
            for on in BATCH_NORM[self.batch_norm]
        )


PRESETS = {"quick": Bench(), "full": Bench(preset="full")}


@dataclass(frozen=True)
class _Face:
    """What is measured, and how it is shown.

    Args:
        measure: takes a configuration, `progress` and `command`, and returns a report.
        print_report: on a console.
        write_json: to a path.
        page: the name of the function of `parity.report` that writes a page.
    """

    measure: Callable[..., Any]
    print_report: Callable[..., None]
    write_json: Callable[..., None]
    page: str

    def write_page(self, report: Any, path: Path) -> None:
        """Write the page."""
        from parity import report as pages  # imports Matplotlib, which other commands do not need

        getattr(pages, self.page)(report, path)
