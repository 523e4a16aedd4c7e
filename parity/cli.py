"""The command line: parses, dispatches, and turns bad input into one line and exit status 2."""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import make_dataclass
from importlib.metadata import version
from typing import Annotated, Any, Union

import tyro

from parity.commands import bench, check, sweep
from parity.commands.bench import Bench
from parity.commands.check import Check
from parity.commands.compare import Compare
from parity.commands.data import Data
from parity.commands.lab import Lab
from parity.commands.sweep import Sweep
from parity.commands.terminal import exit_status, output_may_close, print_error, show
from parity.errors import InputError, choices

DESCRIPTION = """\
The same model in PyTorch and in JAX: do the two agree, where do they part, why, and which is faster?

Examples:
  bnparity sweep                      at which learning rate does training diverge, with and without batch norm?
  bnparity compare pair.py            do my two models compute the same? (a pair is a file: see the documentation)
  bnparity check --candidate my.port:make_backend   does my port of the network train as it should?
  bnparity bench                      which framework is faster here?
  bnparity bench --pair pair.py       which of my two models is faster?
  bnparity COMMAND --help             every option of a command, with its default"""
COMMANDS = ("sweep", "check", "compare", "bench", "lab", "data")
SHELLS = ("bash", "zsh", "tcsh")

# What the parser says below its message, and what we call it: the next line has an option's form.
HINTS = {"Argument helptext:": "give it as", "Perhaps you meant:": "did you mean"}


def parse(arguments: Sequence[str]) -> Sweep | Check | Compare | Bench | Lab | Data:
    """Read the command line.

    Raises:
        InputError: it breaks a rule, in the parser's words.
        SystemExit: help was asked for and has been printed.
    """
    first = next(iter(arguments), "--help")
    if first in ("-h", "--help"):
        return tyro.cli(_with_own_options(), prog="bnparity", description=DESCRIPTION, args=["--help"])
    if first == "--completion":
        return tyro.cli(_with_own_options(), prog="bnparity", args=["--tyro-print-completion", _shell(arguments[1:])])
    if first not in COMMANDS:
        known = (*COMMANDS, "--version", "--completion", "--help")
        raise InputError(f"no command is named {first!r}; {choices(first, known)} (see bnparity --help)")
    commands = _commands(_preset(arguments))
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(commands, prog="bnparity", description=DESCRIPTION, args=arguments)
    except SystemExit as stop:
        if stop.code:
            help_command = f"bnparity {first} --help"
            raise InputError(f"{_one_line(complaint.getvalue())} (see {help_command})") from None
        raise


def _commands(preset: str = "", in_a_line: bool = False) -> Any:
    """The type of every command. The parser shows defaults, which the preset decides."""
    defaults = {
        Sweep: sweep.PRESETS.get(preset, sweep.PRESETS["quick"]),
        Check: check.PRESETS.get(preset, check.PRESETS["ci"]),
        Compare: Compare(),
        Bench: bench.PRESETS.get(preset, bench.PRESETS["quick"]),
        Lab: Lab(),
        Data: Data(),
    }
    return Union[  # noqa: UP007 (as many as there are)
        tuple(
            Annotated[
                kind,
                tyro.conf.subcommand(
                    kind.__name__.lower(),
                    default=default,
                    description=(kind.__doc__ or "").partition("\n")[0] if in_a_line else None,
                ),
            ]
            for kind, default in defaults.items()
        )
    ]


def _with_own_options() -> Any:
    """The commands beside what `bnparity` takes itself, for its help and for shells that complete what is typed."""
    commands: Any = Annotated[_commands(in_a_line=True), tyro.conf.OmitSubcommandPrefixes]
    version: Any = Annotated[bool, tyro.conf.FlagCreatePairsOff, _own("Print the version.")]
    completion: Any = Annotated[
        str,
        _own('Print what makes a shell complete commands and options: eval "$(bnparity --completion bash)".', SHELLS),
    ]
    return make_dataclass(
        "Bnparity", [("command", commands), ("version", version, False), ("completion", completion, "")]
    )


def _own(words: str, values: Sequence[str] = ()) -> Any:
    return tyro.conf.arg(help=words, help_behavior_hint="", metavar="|".join(values) or None)


def _shell(arguments: Sequence[str]) -> str:
    if len(arguments) == 1 and arguments[0] in SHELLS:
        return arguments[0]
    raise InputError(f"--completion takes one of {', '.join(SHELLS)}, got {shlex.join(arguments) or 'nothing'}")


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
