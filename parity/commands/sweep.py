"""The command `bnparity sweep`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from parity.backend import backend_names, installed_siblings, own_process, sibling_names
from parity.commands.options import DataDir, DatasetName, Device, Framework
from parity.commands.terminal import print_error, show
from parity.errors import InputError
from parity.spec import BlockOrder, Initialization
from parity.sweep import LearningRates, SweepConfig, SweepInterrupted, sweep
from parity.sweep.progress import attentive, console_progress


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Find the learning rate at which training diverges, with and without batch norm.

    A preset's values are the defaults of all the other options.
    """

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
    seeds: int = 1
    """Number of seeds: 0 to N-1."""
    passes: int = 2
    """Passes over the training subsample."""
    dataset: DatasetName = "fashion-mnist"
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files."""
    device: Device = ""
    """Where to compute."""
    population_size: int = 8
    """Learning rates that share their minibatches and are trained as one. The last digits depend on it."""
    block_order: Literal["activation_first", "norm_first"] = "activation_first"
    """Where batch norm stands: Linear, ReLU, BatchNorm as in the lab, or Linear, BatchNorm, ReLU."""
    initialization: Literal["uniform_fan_in", "he_normal", "lecun_normal", "orthogonal"] = "uniform_fan_in"
    """How kernels and biases start."""
    residual: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Residual blocks: each but the first adds its input to what it gives."""
    dropout_rate: float = 0.0
    """The chance that training drops a unit at the end of a block; all frameworks drop the same ones."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/sweep"
    """Folder for the tables, the figures and report.html. The same command goes on from what is there."""

    def run(self, command: str) -> int:
        """Run the sweep; 1 if a trial crashed."""
        if not self.out:
            raise InputError("--out must name a folder, got nothing; leave it out for runs/sweep")
        config = SweepConfig(
            frameworks=choose_frameworks(self.framework),
            depths=self.depths,
            batch_norm={"on": (True,), "off": (False,), "both": (False, True)}[self.batch_norm],
            learning_rates=LearningRates.parse(self.learning_rates),
            num_seeds=self.seeds,
            num_passes=self.passes,
            dataset=self.dataset,
            device=self.device,
            population_size=self.population_size,
            block_order=BlockOrder(self.block_order),
            initialization=Initialization(self.initialization),
            residual=self.residual,
            dropout_rate=self.dropout_rate,
        )
        for name in config.frameworks:
            own_process(name)
        try:
            with attentive(console_progress(Console(stderr=True))) as progress:
                report = sweep(config, out=self.out, data_dir=self.data_dir or None, progress=progress, command=command)
        except SweepInterrupted:
            print_error(f"interrupted; what is done lies in {self.out}, and the same command goes on from there")
            return 130
        from parity.report import print_thresholds  # imports Matplotlib, which other commands do not need

        def draw(console: Console) -> None:
            print_thresholds(report, console)
            console.out(f"report: {Path(self.out) / 'report.html'}", highlight=False)

        show(draw)
        return int(report.has_errors)


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
        choices = ", ".join((*backend_names(), "both"))
        raise InputError(f"no framework is named {name!r}; choose one of {choices}")
    return (name,)
