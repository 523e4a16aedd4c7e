"""The command line: parses, dispatches, and turns bad input into one line and exit status 2."""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from parity.backend import backend_names, installed_siblings, sibling_names
from parity.data import DATASETS, describe, load_dataset
from parity.errors import InputError
from parity.sweep import LearningRates, SweepConfig, SweepInterrupted, sweep
from parity.sweep.progress import attentive, console_progress

DESCRIPTION = "One batch-norm experiment, written in JAX/Flax and in PyTorch."

# What the parser says below its message, and what we call it: the next line has an option's form.
HINTS = {"Argument helptext:": "give it as", "Perhaps you meant:": "perhaps you meant"}

Framework = Annotated[
    str,
    tyro.conf.arg(
        metavar="|".join((*backend_names(), "both")),
        help_behavior_hint=f"(default: {' and '.join(sibling_names())}, as installed)",
    ),
]
DatasetName = Annotated[str, tyro.conf.arg(metavar="|".join(DATASETS))]
DataDir = Annotated[str, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: the usual places)")]


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
        )
        try:
            with attentive(console_progress(Console(stderr=True))) as progress:
                report = sweep(config, out=self.out, data_dir=self.data_dir or None, progress=progress, command=command)
        except SweepInterrupted:
            _print_error(f"interrupted; what is done lies in {self.out}, and the same command goes on from there")
            return 130
        from parity.report import print_thresholds  # imports Matplotlib, which other commands do not need

        print_thresholds(report, Console())
        print(f"report: {Path(self.out) / 'report.html'}")
        return int(report.has_errors)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Find and verify the data set, and say where it lies."""

    dataset: DatasetName = "fashion-mnist"
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files; the usual places if not given."""

    def run(self, command: str) -> int:
        """Print what was found."""
        del command
        print(describe(load_dataset(self.dataset, self.data_dir or None)))
        return 0


PRESETS = {
    "quick": Sweep(),
    "lab": Sweep(preset="lab", depths=(*range(1, 9), 10, 25, 50), learning_rates="0.001:100:21", seeds=3, passes=5),
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


def parse(arguments: Sequence[str]) -> Sweep | Data:
    """Read the command line.

    Raises:
        InputError: it breaks a rule, in the parser's words.
        SystemExit: help was asked for and has been printed.
    """
    # The parser shows defaults, so the preset that decides them is read first.
    commands = (
        Annotated[Sweep, tyro.conf.subcommand("sweep", default=_preset(arguments))]
        | Annotated[Data, tyro.conf.subcommand("data", default=Data())]
    )
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(commands, prog="bnparity", description=DESCRIPTION, args=arguments)  # pyright: ignore
    except SystemExit as stop:
        if stop.code:
            subcommand = [name for name in ("sweep", "data") if arguments[0] == name] if arguments else []
            help_command = " ".join(["bnparity", *subcommand, "--help"])
            raise InputError(f"{_one_line(complaint.getvalue())} (see {help_command})") from None
        raise


def _preset(arguments: Sequence[str]) -> Sweep:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset")
    with suppress(argparse.ArgumentError):
        return PRESETS.get(parser.parse_known_args(arguments)[0].preset, PRESETS["quick"])
    return PRESETS["quick"]


def _one_line(complaint: str) -> str:
    """The parser's message and the form that it asks for, without its frame and its help."""
    lines = [line.strip("│╭╮╰╯─ ") for line in complaint.splitlines()]
    text = " ".join(" ".join(lines[1:] or lines).split())
    for tail in (*HINTS, "Arguments are applied", "For full helptext"):
        text = text.split(tail)[0].strip()
    forms = [f"; {words} {lines[lines.index(hint) + 1]}" for hint, words in HINTS.items() if hint in lines]
    return text + "".join(forms)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `bnparity`: 0 done, 1 a trial crashed, 2 bad input, 130 Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # OpenMP threads that wait by spinning make Torch ten times slower where another process wants a core. This is our
    # own process, and no framework has started yet.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    try:
        if list(arguments) == ["--version"]:
            print(f"bnparity {version('bnparity')}")
            return 0
        return parse(arguments).run(shlex.join(["bnparity", *arguments]))
    except BrokenPipeError:
        # Whoever read our output has gone, and so must not be written to when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except InputError as error:
        _print_error(str(error))
        return 2
    except KeyboardInterrupt:
        _print_error("interrupted")
        return 130


def _print_error(message: str) -> None:
    print(f"bnparity: {' '.join(message.split())}", file=sys.stderr)
