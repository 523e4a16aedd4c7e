"""The command line: parses, dispatches, and turns bad input into one line and exit status 2."""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from importlib.metadata import version
from typing import Annotated, Any

import tyro

from parity.commands import bench, check, sweep
from parity.commands.bench import Bench
from parity.commands.check import Check
from parity.commands.compare import Compare
from parity.commands.data import Data
from parity.commands.lab import Lab
from parity.commands.sweep import Sweep
from parity.commands.terminal import exit_status, output_may_close, print_error, show
from parity.errors import InputError

DESCRIPTION = "One batch-norm experiment, written in JAX/Flax and in PyTorch."
COMMANDS = ("sweep", "check", "compare", "bench", "lab", "data")

# What the parser says below its message, and what we call it: the next line has an option's form.
HINTS = {"Argument helptext:": "give it as", "Perhaps you meant:": "perhaps you meant"}


def parse(arguments: Sequence[str]) -> Sweep | Check | Compare | Bench | Lab | Data:
    """Read the command line.

    Raises:
        InputError: it breaks a rule, in the parser's words.
        SystemExit: help was asked for and has been printed.
    """
    # The parser shows defaults, so the preset that decides them is read first.
    name = _preset(arguments)
    sweep_default = sweep.PRESETS.get(name, sweep.PRESETS["quick"])
    check_default = check.PRESETS.get(name, check.PRESETS["ci"])
    bench_default = bench.PRESETS.get(name, bench.PRESETS["quick"])
    commands: Any = (
        Annotated[Sweep, tyro.conf.subcommand("sweep", default=sweep_default)]
        | Annotated[Check, tyro.conf.subcommand("check", default=check_default)]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Bench, tyro.conf.subcommand("bench", default=bench_default)]
        | Annotated[Lab, tyro.conf.subcommand("lab", default=Lab())]
        | Annotated[Data, tyro.conf.subcommand("data", default=Data())]
    )
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(commands, prog="bnparity", description=DESCRIPTION, args=arguments)
    except SystemExit as stop:
        if stop.code:
            if arguments and arguments[0].startswith("-"):
                commands = ", ".join(COMMANDS)
                raise InputError(
                    f"a command comes first, one of {commands}, got {arguments[0]!r} (see bnparity --help)"
                ) from None
            subcommand = [name for name in COMMANDS if arguments[0] == name] if arguments else []
            help_command = " ".join(["bnparity", *subcommand, "--help"])
            raise InputError(f"{_one_line(complaint.getvalue())} (see {help_command})") from None
        raise


def _preset(arguments: Sequence[str]) -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--preset", default="")
    with suppress(argparse.ArgumentError):
        preset = parser.parse_known_args(arguments)[0].preset
        return preset if isinstance(preset, str) else ""  # "--preset=--" is an empty list to it
    return ""


def _one_line(complaint: str) -> str:
    """The parser's message and the form that it asks for, without its frame and its help."""
    lines = [line.strip("│╭╮╰╯─ ") for line in complaint.splitlines()]
    lines = [line for line in lines if line.strip("-") or not line]  # rules, where the terminal has no lines to draw
    text = " ".join(" ".join(lines[1:] or lines).split())
    for tail in (*HINTS, "Arguments are applied", "For full helptext"):
        text = text.split(tail)[0].strip()
    forms = [f"; {words} {lines[lines.index(hint) + 1]}" for hint, words in HINTS.items() if hint in lines]
    return text + "".join(forms)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `bnparity`: 0 done, 1 the answer is no or a trial crashed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # OpenMP threads that wait by spinning make Torch ten times slower where another process wants a core. This is our
    # own process, and no framework has started yet.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    try:
        with output_may_close():
            if list(arguments) == ["--version"]:
                show(lambda console: console.out(f"bnparity {version('bnparity')}", highlight=False))
                return 0
            return parse(arguments).run(shlex.join(["bnparity", *arguments]))
        return 0
    except InputError as error:
        print_error(str(error))
        return 2
    except KeyboardInterrupt as interruption:
        print_error("interrupted")
        return exit_status(interruption)
