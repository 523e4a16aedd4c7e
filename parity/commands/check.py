"""The command `bnparity check`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from parity.backend import backend_names, sibling_names
from parity.check.config import PRESETS as CONFIGS
from parity.check.config import CheckConfig
from parity.commands.options import Conventions, DataDir, DatasetName, Device
from parity.commands.result_files import NOTHING, OutputFile, cleared, paths_of
from parity.commands.terminal import ErrorConsole, show
from parity.errors import InputError
from parity.progress import console_progress
from parity.signals import handle_signals

# No framework is named in this package: of those that this distribution implements, in sorted order, the first is the
# candidate and the second the reference.
CANDIDATE, REFERENCE = (*sibling_names(), "", "")[:2]
BATCH_NORM = {"on": (True,), "off": (False,), "both": (True, False)}

Target = Annotated[str, tyro.conf.arg(metavar="|".join((*backend_names(), "MODULE:FACTORY")))]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Check whether two implementations compute the same; if not, say where first, how far, and why.

    Exit status 0: they agree. 1: they do not, or a question could not be asked of a side. A preset's values are the
    defaults of all the other options.
    """

    preset: Literal["ci", "full"] = "ci"
    """ci: depths 1, 3, 8, 25, semantic and float32 precision. full: depth 50 too, 3 seeds, bfloat16, all questions."""
    reference: Target = REFERENCE
    """What to compare with."""
    candidate: Target = CANDIDATE
    """What is to be judged; a backend of your own too."""
    depths: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N [N ...]")] = CONFIGS["ci"].depths
    """Numbers of hidden layers."""
    batch_norm: Literal["on", "off", "both"] = "both"
    """Whether the hidden layers have batch norm."""
    conventions: tyro.conf.OmitArgPrefixes[Conventions] = field(default_factory=Conventions)
    questions: tuple[Literal["semantic", "precision", "free_run", "statistical"], ...] = ("semantic", "precision")
    """What to ask. The inputs are compared before any of it."""
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Working dtypes of the precision question."""
    precision: Literal["highest", "tf32", "bfloat16"] = "highest"
    """Of float32 matrix products, on both sides."""
    device: Device = ""
    """Where to compute."""
    dataset: DatasetName = "synthetic"
    """The data set."""
    data_dir: DataDir = ""
    """Folder that holds the data set's files."""
    seed: int = 0
    """The first seed. A seed decides initial weights, minibatches and probes, alike on both sides."""
    seeds: int = 1
    """How many seeds, from --seed on."""
    time_limit: float = CONFIGS["ci"].time_limit
    """Seconds that one answer of a side may take."""
    fault: Annotated[str, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: none)")] = NOTHING
    """Inject a fault of the catalogue into the candidate, to see it caught."""
    accept: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]", help_behavior_hint="(default: none)")
    ] = ()
    """Differences of the catalogue to accept: the reference is played with them, all else is judged exactly."""
    list_faults: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List the catalogue of faults, and do nothing else."""
    self_test: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Check the checker: every fault must be caught and named, and no honest variant flagged."""
    json: OutputFile = NOTHING
    """Write the verdict as JSON."""
    html: OutputFile = NOTHING
    """Write the verdict as a page."""
    junit: OutputFile = NOTHING
    """Write the verdict as JUnit XML."""

    def run(self, command: str) -> int:
        """Print the verdict; return 0 if they agree, else 1."""
        config = self.config()
        paths = paths_of(json=self.json, html=self.html, junit=self.junit)
        if not self.fault:
            raise InputError("--fault must name a fault, got nothing; leave it out for none")
        if self.list_faults:
            self._stands_alone("list_faults", ("self_test", "fault", "accept", "json", "html", "junit"))
            return _list_faults()
        if self.self_test:
            self._stands_alone("self_test", ("reference", "candidate", "fault", "accept", "data_dir", "html", "junit"))
            return _self_test(config, paths)
        return self._judge(config, paths, command)

    def config(self) -> CheckConfig:
        """What is asked.

        Raises:
            InputError: an option breaks its rule.
        """
        if not self.dtype:
            raise InputError("--dtype must name at least one working dtype, got none; leave it out for the preset's")
        preset = CONFIGS[self.preset]
        own = {name: getattr(self, name) for name in SHARED}
        own |= {"dtypes": self.dtype, "num_seeds": self.seeds, "batch_norm": BATCH_NORM[self.batch_norm]}
        return replace(preset, spec=replace(preset.spec, **vars(self.conventions)), **own)

    def _judge(self, config: CheckConfig, paths: dict[str, Path], command: str) -> int:
        from parity.check.output import write_json, write_junit
        from parity.check.run import check
        from parity.check.screen import print_report

        options: dict[str, Any] = {"fault": None if self.fault == NOTHING else self.fault, "command": command}
        options |= {"data_dir": self.data_dir or None, "config": config}
        with cleared(paths), handle_signals(console_progress(ErrorConsole())) as progress:
            report = check(self.reference, self.candidate, progress=progress, **options)
        writers: dict[str, Callable[..., None]] = {"--json": write_json, "--html": _write_html, "--junit": write_junit}
        for option, path in paths.items():
            writers[option](report, path)
        show(lambda console: print_report(report, console))
        return int(not report.agrees)

    def _stands_alone(self, name: str, others: tuple[str, ...]) -> None:
        defaults = PRESETS[self.preset]
        extra = [other for other in others if getattr(self, other) != getattr(defaults, other)]
        if extra:
            one, other = (f"--{word.replace('_', '-')}" for word in (name, extra[0]))
            raise InputError(f"{one} does not go with {other}; leave one of them out")


# The options that are fields of `CheckConfig` under the same name and with the same values.
SHARED = ("depths", "questions", "precision", "device", "dataset", "seed", "time_limit", "accept")


def _from_config(preset: Literal["ci", "full"], config: CheckConfig) -> Check:
    words: dict[str, Any] = {"questions": config.questions, "dtype": config.dtypes}
    return Check(preset=preset, depths=config.depths, seeds=config.num_seeds, **words)


PRESETS = {"ci": _from_config("ci", CONFIGS["ci"]), "full": _from_config("full", CONFIGS["full"])}


def _write_html(report: Any, path: Path) -> None:
    from parity.report import write_check_report  # imports Matplotlib, which other commands do not need

    write_check_report(report, path)


def _list_faults() -> int:
    from parity.check.catalogue import CATALOGUE

    def draw(console: Console) -> None:
        for fault in CATALOGUE.values():
            console.out(fault.name, highlight=False)
            words = f"    {fault.what}\n    signature: {fault.signature}\n    to change: {fault.remedy}"
            console.out(words, highlight=False)

    show(draw)
    return 0


def _self_test(config: CheckConfig, paths: dict[str, Path]) -> int:
    from parity.check.screen import print_self_test
    from parity.check.self_test import self_test
    from parity.files import write_object

    with cleared(paths), handle_signals(console_progress(ErrorConsole())) as progress:
        report = self_test(config, progress=progress)
    for path in paths.values():
        write_object(report.to_dict(), path)
    show(lambda console: print_self_test(report, console))
    return int(not report.passed)
