"""The command `bnparity compare`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from parity.commands.result_files import NOTHING, OutputFile, cleared, paths_of
from parity.commands.terminal import ErrorConsole, show
from parity.errors import InputError, one_line
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
    baseline: Annotated[
        str, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: parity-baseline.toml, if it is here)")
    ] = NOTHING
    """Differences to accept, each with its reason, in TOML."""
    write_baseline: OutputFile = NOTHING
    """Write what would accept this run's findings, for their reasons to be filled in."""
    lift_float32: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Compute in float64 what either model computes in narrower numbers."""
    seed: int = 0
    """Decides the inputs that the pair draws (parity.normal and the like); it is the same for both sides."""
    self_test: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Test the command: planted faults must be found and named, and no honest pair of its own models flagged."""
    kinds: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="KIND [KIND ...]", help_behavior_hint="(default: all)")
    ] = ()
    """Kinds of model of the self-test."""
    seeds: int = 1
    """How many seeds, from 0 on, at which the self-test compares each honest pair."""
    format: Literal["text", "github"] = "text"
    """Of what is printed. github: after the text, findings as annotations of their files and lines."""
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

        if self.self_test:
            self._check_alone()
            return _self_test(self.kinds, self.seeds, paths_of(json=self.json))
        if not self.pair:
            raise InputError("no pair is named; give its file or module: bnparity compare pair.py")
        for name in ("kinds", "seeds"):
            if getattr(self, name) != getattr(Compare, name):
                raise InputError(f"--{name} is of --self-test; leave it out, or give --self-test")
        baseline = self._baseline()
        written = paths_of(**{"write-baseline": self.write_baseline})
        for option, path in written.items():
            if os.path.lexists(path):
                raise InputError(f"{option} {str(path)!r}: there is such a file; choose a new one, and copy from it")
        paths = paths_of(json=self.json, html=self.html, junit=self.junit) | written
        options: dict[str, Any] = {"accept": self.accept, "questions": self.questions, "dtypes": self.dtype}
        with cleared(paths), handle_signals(console_progress(ErrorConsole())) as progress, progress:
            options |= {"lift_float32": self.lift_float32, "baseline": baseline}
            report = compare(self.pair, seed=self.seed, command=command, progress=progress, **options)
        writers: dict[str, Callable[..., None]] = {"--json": write_json, "--html": _write_html, "--junit": write_junit}
        said = [f"baseline: {baseline}"] if baseline is not None else []
        for option, path in paths.items():
            if option in writers:
                writers[option](report, path)
            else:
                said.append(_write_baseline(report, self.pair, path))
        show(lambda console: self._print(report, said, console))
        return int(not report.agrees)

    def _check_alone(self) -> None:
        """Check that nothing of a comparison is asked of the self-test."""
        of_pair = (
            "pair",
            "questions",
            "dtype",
            "accept",
            "baseline",
            "write_baseline",
            "lift_float32",
            "seed",
            "format",
        )
        for name in (*of_pair, "html", "junit"):
            if getattr(self, name) != getattr(Compare, name):
                word = "PAIR" if name == "pair" else f"--{name.replace('_', '-')}"
                raise InputError(f"--self-test does not go with {word}; leave one of them out")

    def _baseline(self) -> Path | None:
        """The file of accepted differences: the one that is named, or the one that lies here."""
        from parity.pair.baseline import NAME

        if (named := paths_of(baseline=self.baseline)) or not Path(NAME).exists():
            return named.get("--baseline")
        return Path(NAME)

    def _print(self, report: Any, said: Sequence[str], console: Console) -> None:
        from parity.pair.annotations import format_github, inert
        from parity.pair.screen import print_report

        if self.format == "text":
            print_report(report, console)
        else:
            console.out(format_github(report, self.pair), highlight=False)
        for line in said:
            console.out(inert(one_line(line)), highlight=False)


def _self_test(kinds: tuple[str, ...], seeds: int, paths: dict[str, Path]) -> int:
    from parity.files import write_object
    from parity.pair.self_test import self_test

    with cleared(paths), handle_signals(console_progress(ErrorConsole())) as progress:
        report = self_test(kinds, seeds=seeds, progress=progress)
    for path in paths.values():
        write_object(report.as_json(), path)
    show(lambda console: console.out(report.words(), highlight=False))
    return int(not report.passed)


def _write_baseline(report: Any, pair: str, path: Path) -> str:
    """Write the entries, if there are any; return what is said of it."""
    from parity.pair.baseline import entries_of, write_baseline

    entries, left = entries_of(report.findings, pair, path)
    rest = f"; of the findings {left} cannot be accepted so" if left else ""
    if not entries:
        return f"nothing to write into {path}{rest}"
    write_baseline(entries, path)
    return f"{path}: {len(entries)} to accept; fill in each reason{rest}"


def _write_html(report: Any, path: Any) -> None:
    from parity.report.compare_page import write_compare_report

    write_compare_report(report, path)
