"""The command `bnparity sweep`."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from parity.backend import backend_names, installed_siblings, load_backend, sibling_names
from parity.commands.options import DataDir, DatasetName, Device, Framework
from parity.commands.terminal import ErrorConsole, exit_status, print_error, show
from parity.errors import InputError, choices
from parity.progress import Progress, console_progress
from parity.signals import handle_signals
from parity.sweep import Execution, SweepConfig, SweepInterrupted, SweepReport, sweep
from parity.sweep.forecast import forecast_sweep, print_forecast


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Find the learning rate at which training diverges, with and without batch norm.

    A preset's values are the defaults of all the other options.
    """

    # Up to --dropout-rate, options are the words of `SweepConfig.from_words`.

    preset: Literal["quick", "lab"] = "quick"
    """quick: depths 1, 2, 4, 8, one seed, 2 passes. lab: depths 1 to 8, 10, 25, 50, three seeds, 5 passes."""
    framework: Framework = ""
    """The framework to train with."""
    depths: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N [N ...]")] = (1, 2, 4, 8)
    """Numbers of hidden layers."""
    batch_norm: Literal["on", "off", "both"] = "both"
    """Whether the hidden layers have batch norm."""
    learning_rates: Annotated[str, tyro.conf.arg(metavar="LOW:HIGH:COUNT")] = "0.001:10:9"
    """The grid, evenly spaced on a log scale, both ends included."""
    seeds: int = SweepConfig.num_seeds
    """Number of seeds, 0 to N-1. A seed decides initial weights and minibatches, alike in every framework."""
    passes: int = SweepConfig.num_passes
    """Passes over the training subsample."""
    dataset: DatasetName = SweepConfig.dataset
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files."""
    device: Device = SweepConfig.device
    """Where to compute."""
    population_size: int = SweepConfig.population_size
    """Learning rates that share their minibatches and are trained as one. The last digits depend on it."""
    block_order: Literal["activation_first", "norm_first"] = "activation_first"
    """Where batch norm stands: Linear, ReLU, BatchNorm as in the lab, or Linear, BatchNorm, ReLU."""
    initialization: Literal["uniform_fan_in", "he_normal", "lecun_normal", "orthogonal"] = "uniform_fan_in"
    """How kernels and biases start."""
    residual: Annotated[bool, tyro.conf.FlagCreatePairsOff] = SweepConfig.residual
    """Residual blocks: each but the first adds its input to what it gives."""
    dropout_rate: float = SweepConfig.dropout_rate
    """The chance that training drops a unit at the end of a block; all frameworks drop the same ones."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/sweep"
    """Folder for the tables, the figures and report.html. The same command goes on from what is there."""

    extend: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add to the grid of the sweep in --out, instead of refusing another one."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the grid, what of it is done, and about how long the rest takes; run and write nothing."""
    fail_fast: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """End with the first trial that crashes."""
    executor: Literal["in-process", "processes", "dask"] = "in-process"
    """Where trials are trained; the numbers do not depend on it."""
    workers: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Processes, or workers of a Dask cluster on this machine; 0 for one for each core, or GPU."""
    scheduler: Annotated[str, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="(default: none)")] = ""
    """Dask's scheduler, such as tcp://10.0.0.1:8786; without one, a cluster on this machine is started."""
    time_limit: Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help_behavior_hint="(default: no limit)")] = (
        None
    )
    """What a block of trials may take before its process is ended."""
    parquet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the tables as Parquet too."""

    def run(self, command: str) -> int:
        """Run the sweep; 1 if a trial crashed."""
        try:
            with handle_signals(console_progress(ErrorConsole())) as progress:  # Ctrl-C may come while JAX is imported
                report = self._sweep(command, progress)
        except SweepInterrupted as interruption:
            print_error(f"interrupted; what is done lies in {self.out}, and the same command goes on from there")
            return exit_status(interruption)
        if report is None:
            return 0
        from parity.report import print_thresholds  # imports Matplotlib, which other commands do not need

        def draw(console: Console) -> None:
            print_thresholds(report, console)
            console.out(f"report: {Path(self.out) / 'report.html'}", highlight=False)

        show(draw)
        return int(report.has_errors)

    def _sweep(self, command: str, progress: Progress) -> SweepReport | None:
        if not self.out:
            raise InputError("--out must name a folder, got nothing; leave it out for runs/sweep")
        execution = Execution(
            executor=self.executor, workers=self.workers, scheduler=self.scheduler, time_limit=self.time_limit
        )
        config = SweepConfig.from_words(vars(self) | {"framework": choose_frameworks(self.framework)})
        places: Any = {"out": self.out, "data_dir": self.data_dir or None}
        how: Any = {"execution": execution, "extend": self.extend, "parquet": self.parquet}
        if self.dry_run:
            with TemporaryDirectory(prefix="bnparity-") as cache:  # or the next dry run would find all compiled
                for name in config.frameworks:
                    load_backend(name).own_process(cache)
                forecast = forecast_sweep(config, **places, **how)
            show(lambda console: print_forecast(forecast, console))
            return None
        if execution.executor == "in-process":
            for name in config.frameworks:
                load_backend(name).own_process()
        return sweep(
            config,
            **places,
            **how,
            progress=progress,
            command=command,
            fail_fast=self.fail_fast,
            write_page=_write_page,
        )


def _write_page(report: SweepReport, folder: Path) -> None:
    from parity.report import write_report  # imports Matplotlib, which other commands do not need

    write_report(report, folder)


PRESETS = {
    "quick": Sweep(),
    "lab": Sweep(
        preset="lab",
        depths=(*range(1, 9), 10, 25, 50),
        learning_rates="0.001:100:21",
        seeds=3,
        passes=5,
        population_size=7,  # three lanes hold the grid, and one its bisection
    ),
}


def choose_frameworks(name: str) -> tuple[str, ...]:
    """The backends that `--framework` names.

    Raises:
        InputError: there is none of that name, or none is installed.
    """
    if not name:
        return installed_siblings()
    if name == "both":
        return sibling_names()
    if name not in backend_names():
        raise InputError(f"no framework is named {name!r}; {choices(name, (*backend_names(), 'both'))}")
    return (name,)
