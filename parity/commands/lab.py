"""The command `bnparity lab`."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from parity.backend import sibling_names
from parity.commands.options import DataDir, DatasetName, Framework
from parity.commands.sweep import choose_frameworks
from parity.commands.terminal import print_error, show
from parity.errors import InputError
from parity.sweep.progress import attentive, console_progress


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The course lab as a gallery of experiments and figures, in every framework side by side.

    Batch norm in action, convolution, standardization, step sizes, batch sizes, deep networks and their remedies, and
    the phase diagram of depth and learning rate. Some minutes.
    """

    framework: Framework = ""
    """The framework to show."""
    dataset: DatasetName = "fashion-mnist"
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/lab"
    """Folder for report.html and its figures."""

    def run(self, command: str) -> int:
        """Write the page; 1 if a part failed."""
        from parity.lab import LabConfig, run_lab, write_lab  # imports Matplotlib, which other commands do not need

        if not self.out:
            raise InputError("--out must name a folder, got nothing; leave it out for runs/lab")
        frameworks = choose_frameworks(self.framework)
        if unfit := [name for name in frameworks if name not in sibling_names()]:
            raise InputError(
                f"the lab shows frameworks' own layers and derivatives, which {unfit[0]!r} has none of; "
                f"choose one of {', '.join((*sibling_names(), 'both'))}"
            )
        check_folder(Path(self.out))
        config = LabConfig(frameworks=frameworks, dataset=self.dataset, data_dir=self.data_dir)
        with attentive(console_progress(Console(stderr=True))) as progress:
            report = run_lab(config, progress=progress, command=command)
        page = write_lab(report, self.out)
        show(lambda console: console.out(f"{len(report.sections)} parts in {report.seconds:.0f} s: {page}"))
        for failure in report.failures:
            print_error(failure)
        return 1 if report.failures else 0


def check_folder(folder: Path) -> None:
    """Refuse, before minutes of work, a folder that cannot be written.

    Raises:
        InputError: it cannot.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / "figures"):
            with tempfile.TemporaryFile(dir=place):
                pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write to --out {str(folder)!r}: {reason}; choose a writable folder") from error
