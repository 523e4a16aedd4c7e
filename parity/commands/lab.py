"""The command `bnparity lab`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from parity.backend import load_backend
from parity.commands.options import DataDir, DatasetName, Sibling
from parity.commands.sweep import choose_frameworks
from parity.commands.terminal import ErrorConsole, print_error, show
from parity.errors import InputError
from parity.files import make_folder
from parity.progress import console_progress
from parity.signals import handle_signals
from parity.sweep.prepare import STORE


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The course lab as a gallery of experiments and figures, in every framework side by side.

    Batch norm in action, convolution, a plain network, standardization, step sizes, batch sizes, deep networks and
    their remedies, and the phase diagram of depth and learning rate: three to five minutes on two cores.
    """

    framework: Sibling = ""
    """The framework to show."""
    parts: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="(default: all)")
    ] = ()
    """The parts to run, of batch_norm, convolution, network, standardization, step_size, batch_size, deep_networks and
    phase_diagram."""
    dataset: DatasetName = "fashion-mnist"
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/lab"
    """Folder for report.html and its figures."""

    def run(self, command: str) -> int:
        """Write the page; 1 if a part failed."""
        with handle_signals(console_progress(ErrorConsole())) as progress:  # Ctrl-C may come while JAX is imported
            from parity.lab import LabConfig, run_lab, write_lab  # imports Matplotlib, which other commands do not need
            from parity.lab.config import lab_data

            if not self.out:
                raise InputError("--out must name a folder, got nothing; leave it out for runs/lab")
            frameworks = choose_frameworks(self.framework)
            for name in frameworks:
                load_backend(name).tools()  # refused before a folder is made
            config = LabConfig(frameworks=frameworks, parts=self.parts, dataset=self.dataset, data_dir=self.data_dir)
            lab_data(config.dataset, config.data_dir, config.fraction)
            if (Path(self.out) / STORE).exists():
                raise InputError(f"--out {self.out!r} holds a sweep, whose report would be lost; choose another folder")
            make_folder(Path(self.out), ["report.html"], option="--out")
            report = run_lab(config, progress=progress, command=command)
        page = write_lab(report, self.out)
        show(lambda console: console.out(f"{len(report.sections)} parts in {report.seconds:.0f} s: {page}"))
        for failure in report.failures:
            print_error(failure)
        return 1 if report.failures else 0
