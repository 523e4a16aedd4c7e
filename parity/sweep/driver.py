"""A sweep from its configuration to its report."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from parity.backend import Backend, load_backend
from parity.data import Dataset, StandardizedData, load_dataset, standardize, updates_per_pass
from parity.errors import InputError
from parity.files import make_folder, remove_leftovers
from parity.sweep.blocks import Block
from parity.sweep.classify import find_threshold
from parity.sweep.executors import Execution, Executor, open_executor
from parity.sweep.grid import Group, SweepConfig, extended
from parity.sweep.identity import Identity, common_versions
from parity.sweep.lanes import accelerated
from parity.sweep.lock import locked
from parity.sweep.memory import fitting, in_words, needed_bytes
from parity.sweep.output import check_parquet, config_fields, write_tables
from parity.sweep.plan import plan
from parity.sweep.progress import Meter, Progress, SilentProgress
from parity.sweep.records import Status, SweepReport, Trial
from parity.sweep.schedule import Found, TrialError, make_unit, run_units
from parity.sweep.store import Store, stored_words
from parity.sweep.train import Wanted

STORE = "sweep.sqlite"
OUTPUTS = (
    "trials.csv",
    "thresholds.csv",
    "trials.parquet",
    "thresholds.parquet",
    "config.toml",
    "report.html",
    "figures",
)


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
    execution: Execution | None = None,
    extend: bool = False,
    fail_fast: bool = False,
    parquet: bool = False,
) -> SweepReport:
    """Find the learning rate at which training diverges, for every depth, norm, seed and framework of a grid.

    Args:
        config: what to run.
        out: folder for `trials.csv`, `thresholds.csv`, figures, `report.html`, `sweep.sqlite` and `config.toml`. What
            an earlier run of the same sweep has left there is not run again. None writes nothing.
        data_dir: where the files of the data set lie; None to look in the usual places.
        progress: is told how far the sweep is.
        command: what made it, for the report; None for this call.
        execution: where it is trained; None for this process. The numbers do not depend on it.
        extend: adds to the grid of the sweep that `out` holds, instead of refusing another one.
        fail_fast: ends with the first block that has a crashed trial, after it has been written.
        parquet: whether the tables are written as Parquet too.

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
    execution, progress = execution or Execution(), progress or SilentProgress()
    if parquet:
        check_parquet()
    before = stored_words(Path(out) / STORE) if extend and out is not None else {}
    config = extended(config, before)
    prepared = prepare(config, data_dir)
    if execution.executor != "dask":
        _check_memory(prepared)
    about: dict[str, Any] = {
        "config": config,
        "dataset": prepared.dataset,
        "label_entropy": prepared.data.label_entropy,
        "environment": prepared.environment,
        # A path may hold bytes that are no text.
        "command": (command or f"parity.sweep({config})").encode(errors="backslashreplace").decode(),
    }
    done: dict[Group, Sequence[Trial]] = {}
    with ExitStack() as until:  # an executor that cannot be had leaves no folder behind
        executor = until.enter_context(
            open_executor(execution, config, prepared.backends, prepared.data, prepared.digest)
        )
        folder = _make_folder(out)
        until.enter_context(locked(folder))
        if folder is not None and extend and stored_words(folder / STORE) != before:
            raise InputError(f"another sweep has just changed {folder / STORE}; run the same command again")
        write = partial(_write, folder=folder, parquet=parquet)
        store = until.enter_context(Store(folder and folder / STORE, prepared.identity, extend=extend))
        for place in [] if folder is None else [folder, folder / "figures"]:
            remove_leftovers(place)
        try:
            for found in _run(prepared, executor, execution.time_limit, store, progress, fail_fast):
                done |= found
        except KeyboardInterrupt:
            interruption = SweepInterrupted(_partial_report(about, config, store, done))
            try:
                write(interruption.report)
            finally:
                raise interruption from None
        except TrialError as failure:
            report = _partial_report(about, config, store, done)
            write(report)
            progress.say(f"stopped at the first trial that crashed ({failure}); the same command goes on from there")
            return report
        except InputError:  # the store can be kept no longer, a full disk say, or a worker is not what it should be
            with suppress(InputError):  # the first is what is to be known
                write(_partial_report(about, config, store, done))
            raise
        report = _report(about, done)
        write(report)
    return report


@dataclass(frozen=True)
class Prepared:
    """A sweep that could begin.

    Args:
        config: what to run.
        backends: by name.
        dataset: the data set's name.
        data: that is trained on.
        digest: of the data that is trained on: the set's, and the share of it.
        environment: versions and machine.
        identity: what decides the numbers.
    """

    config: SweepConfig
    backends: Mapping[str, Backend]
    dataset: str
    data: StandardizedData
    digest: str
    environment: dict[str, str]
    identity: Identity


def prepare(config: SweepConfig, data_dir: str | Path | None = None) -> Prepared:
    """Load what a sweep needs.

    Raises:
        InputError: there is no such framework, device or data, or no update could be made.
    """
    device = {"device": config.device} if config.device else {}
    backends = {name: load_backend(name, **device) for name in config.frameworks}
    dataset = load_dataset(config.dataset, data_dir)
    data = standardize(dataset, config.fraction)
    updates_per_pass(len(data.train_labels), config.batch_size)  # refuses a batch size that leaves no update
    versions = {name: backend.versions() | _accelerator(name, backend, config) for name, backend in backends.items()}
    ours = _environment(dataset)
    identity = Identity(config_fields(config), ours, versions)
    environment = {package: version for own in versions.values() for package, version in own.items()} | ours
    digest = f"{dataset.digest}-{config.fraction}"
    return Prepared(config, backends, dataset.name, data, digest, environment, identity)


def _accelerator(name: str, backend: Backend, config: SweepConfig) -> dict[str, str]:
    """Where rounding depends on how many members are trained together, what decides the numbers too."""
    if not (kind := accelerated(backend)):
        return {}
    members = config.lanes_of(config.num_seeds) * config.population_size
    return {f"{name} accelerator": kind, f"{name} members together": str(members)}


def _check_memory(prepared: Prepared) -> None:
    """Refuse a group that does not fit into memory before any is run."""
    for groups in prepared.config.families():
        backend = prepared.backends[groups[0].framework]
        list(fitting(backend, prepared.config, groups, len(prepared.data.train_labels)))


def _run(
    prepared: Prepared,
    executor: Executor,
    time_limit: float | None,
    store: Store,
    progress: Progress,
    fail_fast: bool,
) -> Iterator[Found]:
    """Every group with its trials, as it ends. What the store holds is not run again."""
    config, samples = prepared.config, len(prepared.data.train_labels)

    def note(groups: Sequence[Group]) -> str:
        backend = prepared.backends[groups[0].framework]
        return f"about {in_words(needed_bytes(backend, config, groups, samples))}"

    def block(wanted: Wanted) -> Block:
        versions = common_versions() | prepared.backends[next(iter(wanted)).framework].versions()
        return Block(config, wanted, prepared.digest, versions, time_limit)

    families = config.families()
    left = [family for family in families if any(make_unit(config, [group], store).found is None for group in family)]
    with progress:
        if (state := plan(config, store)).done:
            progress.say(f"{state.done} trials done, {state.to_run} to run{state.more}")
        executor.expect(left)
        grouped = [unit for family in families for unit in _split(family, executor, prepared)]
        units = [make_unit(config, groups, store) for groups in grouped]
        to_train = [group for unit in units if unit.found is None for group in unit.groups]
        meter = Meter(config, progress, to_train, note)
        yield from run_units(config, units, executor, store, meter, block, fail_fast)
        if not to_train:
            progress.update(1.0, "done")


def _split(family: Sequence[Group], executor: Executor, prepared: Prepared) -> Sequence[Sequence[Group]]:
    """The units in which a family is trained: whole where its groups decide each other's last digits."""
    whole = executor.pools_seeds or accelerated(prepared.backends[family[0].framework])
    return [family] if whole else [(group,) for group in family]


def _partial_report(
    about: Mapping[str, Any], config: SweepConfig, store: Store, done: Mapping[Group, Sequence[Trial]]
) -> SweepReport:
    """All that is kept of a sweep that did not come to its end: its finished groups, and of the others the trials of
    the grid, and those that crashed.
    """
    finished, started, grid = dict(done), {}, set(config.learning_rates.values())
    for group in config.groups():
        if group in finished:
            continue
        unit = make_unit(config, [group], store)
        if unit.found is not None:
            finished |= unit.found
            continue
        trials = store.find(group, Status.ERROR).values()
        if kept := [t for t in trials if t.learning_rate in grid or t.status is Status.ERROR]:
            started[group] = kept
    return _report(about, finished, started)


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


def _environment(dataset: Dataset) -> dict[str, str]:
    return common_versions() | {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "data digest": dataset.digest,
    }


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


def _write(report: SweepReport, folder: Path | None, parquet: bool) -> None:
    if folder is None:
        return
    write_tables(report, folder, parquet)
    from parity.report import write_report  # Matplotlib is slow to import, and whoever writes nothing needs none

    write_report(report, folder)
