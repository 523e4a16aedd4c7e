"""A sweep from its configuration to its report."""

import os
import platform
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parity.backend import Backend, load_backend
from parity.data import Dataset, StandardizedData, load_dataset, standardize, updates_per_pass
from parity.errors import InputError
from parity.files import make_folder
from parity.sweep.ahead import compiling_ahead, lower_family
from parity.sweep.classify import find_threshold
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.memory import fitting, in_words, needed_bytes
from parity.sweep.output import config_fields, write_tables
from parity.sweep.progress import Meter, Progress, SilentProgress
from parity.sweep.records import SweepReport, Trial
from parity.sweep.run import run_groups
from parity.sweep.store import Store
from parity.sweep.train import Trained, Wanted, train

STORE = "sweep.sqlite"
OUTPUTS = ("trials.csv", "thresholds.csv", "config.toml", "report.html", "figures")


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep. `report` holds what was done, which has been written."""

    def __init__(self, report: SweepReport) -> None:
        super().__init__()
        self.report = report


def sweep(
    config: SweepConfig,
    *,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> SweepReport:
    """Find the learning rate at which training diverges, for every depth, norm, seed and framework of a grid.

    Args:
        config: what to run.
        out: folder for `trials.csv`, `thresholds.csv`, figures, `report.html`, `sweep.sqlite` and `config.toml`. What
            an earlier run of the same sweep has left there is not run again. None writes nothing.
        data_dir: where the files of the data set lie; None to look in the usual places.
        progress: is told how far the sweep is.
        command: what made it, for the report; None for this call.

    Returns:
        What the command writes.

    Raises:
        InputError: bad input, before anything is run or written.
        SweepInterrupted: Ctrl-C, after what is done has been written.

    Example::

        report = parity.sweep(parity.SweepConfig(frameworks=("jax",), depths=(1, 2), dataset="synthetic"))
        for threshold in report.thresholds:
            print(threshold.group, threshold.smallest_divergent)
    """
    device = {"device": config.device} if config.device else {}
    backends = {name: load_backend(name, **device) for name in config.frameworks}
    dataset = load_dataset(config.dataset, data_dir)
    data = standardize(dataset, config.fraction)
    updates_per_pass(len(data.train_labels), config.batch_size)  # refuses a batch size that leaves no update
    environment = _environment(backends, dataset)
    for groups in config.families():  # a group that does not fit into memory is refused before any is run
        backend = backends[groups[0].framework]
        list(fitting(backend, config, groups, len(data.train_labels)))
    about: dict[str, Any] = {
        "config": config,
        "dataset": dataset.name,
        "label_entropy": data.label_entropy,
        "environment": environment,
        # A path may hold bytes that are no text.
        "command": (command or f"parity.sweep({config})").encode(errors="backslashreplace").decode(),
    }
    folder = _make_folder(out)
    done: dict[Group, Sequence[Trial]] = {}
    with Store(folder and folder / STORE, _identity(config, environment)) as store:
        try:
            for group, trials in _run(config, backends, data, store, progress or SilentProgress()):
                done[group] = trials
        except KeyboardInterrupt:
            interruption = SweepInterrupted(_report(about, done, _started(config, store, done)))
            try:
                _write(interruption.report, folder)
            finally:
                raise interruption from None
        except InputError:  # the store can be kept no longer: a full disk, say
            _write(_report(about, done, {}), folder)
            raise
    report = _report(about, done)
    _write(report, folder)
    return report


def _run(
    config: SweepConfig,
    backends: Mapping[str, Backend],
    data: StandardizedData,
    store: Store,
    progress: Progress,
) -> Iterator[tuple[Group, Sequence[Trial]]]:
    """Every group with its trials, as it ends. What the store holds is not run again."""
    meter = Meter(config, progress)
    to_train = [groups for groups in config.families() if not all(store.find(group) for group in groups)]
    lowerings = {
        groups: partial(lower_family, backends[groups[0].framework], config, groups, data) for groups in to_train
    }
    with progress, compiling_ahead(lowerings) as wait_for:
        for groups in config.families():
            wait_for(groups)
            run = partial(_run_block, backends[groups[0].framework], config, data, store, meter)
            yield from run_groups(config, groups, run).items()
            meter.finish(groups)


def _run_block(
    backend: Backend, config: SweepConfig, data: StandardizedData, store: Store, meter: Meter, wanted: Wanted
) -> Trained:
    """Train what the store does not hold yet, and put it there: of each group all or nothing, as it was first run."""
    need = needed_bytes(backend, config, list(wanted), len(data.train_labels))
    meter.start(wanted, f"about {in_words(need)}")
    known = {group: store.find(group) for group in wanted}
    missing = {group: rates for group, rates in wanted.items() if not all(rate in known[group] for rate in rates)}
    if missing:
        trained = train(backend, config, missing, data, meter.tick)
        store.record(trial for trials in trained.values() for trial in trials.values())
        known |= trained
    return {group: {rate: known[group][rate] for rate in rates} for group, rates in wanted.items()}


def _started(config: SweepConfig, store: Store, done: Container[Group]) -> dict[Group, Sequence[Trial]]:
    """The grid's trials of groups that an interruption left unfinished."""
    grid = set(config.learning_rates.values())
    groups = (group for group in config.groups() if group not in done)
    trials = {group: [t for rate, t in store.find(group).items() if rate in grid] for group in groups}
    return {group: found for group, found in trials.items() if found}


def _report(
    about: Mapping[str, Any],
    done: Mapping[Group, Sequence[Trial]],
    started: Mapping[Group, Sequence[Trial]] | None = None,
) -> SweepReport:
    """The report of finished groups and, where the sweep was interrupted, of those that it had started."""
    thresholds = (find_threshold(group, done[group]) for group in sorted(done))
    trials = {**done, **(started or {})}
    return SweepReport(
        trials=tuple(trial for group in sorted(trials) for trial in trials[group]),
        thresholds=tuple(threshold for threshold in thresholds if threshold is not None),
        complete=started is None,
        **about,
    )


def _environment(backends: Mapping[str, Backend], dataset: Dataset) -> dict[str, str]:
    versions: dict[str, str] = {}
    for backend in backends.values():
        versions |= backend.versions()
    ours = {
        "bnparity": version("bnparity"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "data digest": dataset.digest,
    }
    return versions | ours


def _identity(config: SweepConfig, environment: Mapping[str, str]) -> dict[str, Any]:
    """What decides the numbers; the order in which things were asked for does not."""
    fields = {
        name: sorted(value) if isinstance(value, list) else value for name, value in config_fields(config).items()
    }
    return fields | dict(environment)


def _make_folder(out: str | Path | None) -> Path | None:
    if out is None:
        return None
    folder = Path(out)
    taken = [name for name in OUTPUTS if _holds_something(folder / name)]
    if taken and not (folder / STORE).is_file():
        raise InputError(
            f"--out {str(out)!r} holds {', '.join(taken)} but no {STORE}, so no sweep made them; choose another folder"
        )
    make_folder(folder, [name for name in OUTPUTS if name != "figures"], option="--out")
    return folder


def _holds_something(path: Path) -> bool:
    """Whether a file, or a folder that is not empty, is there: a start that was cut off leaves an empty one."""
    try:
        return any(path.iterdir()) if path.is_dir() else path.exists()
    except (OSError, ValueError):  # which making the folder will meet again, and tell
        return False


def _write(report: SweepReport, folder: Path | None) -> None:
    if folder is None:
        return
    write_tables(report, folder)
    from parity.report import write_report  # Matplotlib is slow to import, and whoever writes nothing needs none

    write_report(report, folder)
