"""The command `bnparity compare`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from parity.commands.result_files import NOTHING, OutputFile, cleared, paths_of
from parity.commands.terminal import ErrorConsole, show
from parity.errors import InputError
from parity.progress import console_progress
from parity.signals import handle_signals


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare a model of one framework with one of another: where do they part, how far, why?

    A pair is a Python file, or a module, with reference() and candidate(), which return ports of the two models, and
    inputs. Exit status 0: they agree. 1: they do not, or not everything could be compared.
    """

    pair: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PAIR", help_behavior_hint="")]] = ""
    """File (pair.py) or module of the pair."""
    questions: tuple[Literal["forced", "free", "statistics", "optimizer", "precision"], ...] = (
        "forced", "free", "statistics", "optimizer", "precision",
    )  # fmt: skip
    """What to ask beside the weight map. The forced pass is always played."""
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Working dtypes of the precision question."""
    accept: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME@PLACE [...]", help_behavior_hint="(default: none)")
    ] = ()
    """Differences to accept; the reference is played with them. PLACE is a pattern of module paths."""
    lift_float32: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Compute in float64 what either model computes in narrower numbers."""
    seed: int = 0
    """Of the inputs that are drawn."""
    self_test: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Test the command: planted faults must be found and named, and no honest pair of its own models flagged."""
    kinds: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="KIND [KIND ...]", help_behavior_hint="(default: all)")
    ] = ()
    """Kinds of model of the self-test."""
    seeds: int = 1
    """Seeds at which the self-test compares each honest pair."""
    json: OutputFile = NOTHING
    """Write the verdict as JSON."""
    html: OutputFile = NOTHING
    """Write the verdict as a page."""
    junit: OutputFile = NOTHING
    """Write the verdict as JUnit XML."""

    def run(self, command: str) -> int:
        """Print the verdict; return 0 if they agree, else 1."""
        from parity.pair.output import write_json, write_junit
        from parity.pair.run import compare
        from parity.pair.screen import print_report

        paths = paths_of(json=self.json, html=self.html, junit=self.junit)
        if self.self_test:
            self._check_alone()
            return _self_test(self.kinds, self.seeds, paths)
        if not self.pair:
            raise InputError("no pair is named; give its file or module: bnparity compare pair.py")
        for name in ("kinds", "seeds"):
            if getattr(self, name) != getattr(Compare, name):
                raise InputError(f"--{name} is of --self-test; leave it out, or give --self-test")
        options: dict[str, Any] = {"accept": self.accept, "questions": self.questions, "dtypes": self.dtype}
        with cleared(paths), handle_signals(console_progress(ErrorConsole())) as progress, progress:
            options["lift_float32"] = self.lift_float32
            report = compare(self.pair, seed=self.seed, command=command, progress=progress, **options)
        writers: dict[str, Callable[..., None]] = {"--json": write_json, "--html": _write_html, "--junit": write_junit}
        for option, path in paths.items():
            writers[option](report, path)
        show(lambda console: print_report(report, console))
        return int(not report.agrees)

    def _check_alone(self) -> None:
        """Check that nothing of a comparison is asked of the self-test."""
        of_pair = ("pair", "questions", "dtype", "accept", "lift_float32", "seed", "html", "junit")
        for name in of_pair:
            if getattr(self, name) != getattr(Compare, name):
                word = "PAIR" if name == "pair" else f"--{name.replace('_', '-')}"
                raise InputError(f"--self-test does not go with {word}; leave one of them out")


def _self_test(kinds: tuple[str, ...], seeds: int, paths: dict[str, Path]) -> int:
    from parity.files import write_object
    from parity.pair.self_test import self_test

    with cleared(paths), handle_signals(console_progress(ErrorConsole())) as progress:
        report = self_test(kinds, seeds=seeds, progress=progress)
    for path in paths.values():
        write_object(report.as_json(), path)
    show(lambda console: console.out(report.words(), highlight=False))
    return int(not report.passed)


def _write_html(report: Any, path: Any) -> None:
    from parity.report.compare_page import write_compare_report

    write_compare_report(report, path)
