"""A sweep from its configuration to its report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from parity.divergence import Status
from parity.errors import InputError
from parity.files import make_folder, remove_leftovers
from parity.machine import bytes_in_words
from parity.progress import Progress, SilentProgress
from parity.signals import Interrupted
from parity.sweep.blocks import Block, what_decides
from parity.sweep.executors import Execution, Executor, open_executor
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lock import locked, refuse_second
from parity.sweep.memory import needed_bytes
from parity.sweep.meter import Meter
from parity.sweep.output import write_tables
from parity.sweep.plan import plan
from parity.sweep.prepare import OUTPUTS, STORE, Prepared, prepare
from parity.sweep.records import SweepReport, Trial
from parity.sweep.schedule import Found, Schedule, TrialError, make_unit
from parity.sweep.store import Store, stored_words
from parity.sweep.thresholds import find_threshold
from parity.sweep.train import Wanted

PageWriter = Callable[[SweepReport, Path], object]


class SweepInterrupted(Interrupted):
    """Ctrl-C during a sweep, or SIGTERM. `report` holds what was done, which has been written."""

    report: SweepReport


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
    write_page: PageWriter | None = None,
) -> SweepReport:
    """Find the learning rate at which training diverges, for every depth, norm, seed and framework of a grid.

    Args:
        config: what to run.
        out: folder for `trials.csv`, `thresholds.csv`, `sweep.sqlite` and `config.toml`. Trials that an earlier run of
            the same sweep has left there are not run again. None writes nothing.
        data_dir: where the files of the data set lie; None to look in the usual places.
        progress: shows how far the sweep is.
        command: what made it, for the report; None for this call.
        execution: where it is trained; None for this process. The numbers do not depend on it.
        extend: adds to the grid of the sweep that `out` holds, instead of refusing another one.
        fail_fast: ends with the first block that has a crashed trial, after it has been written.
        parquet: whether the tables are written as Parquet too.
        write_page: writes figures and `report.html` into `out`, such as `parity.report.write_report`. It is called
            however the sweep ends, after the tables.

    Returns:
        What is done; all of it, unless `fail_fast` has ended the sweep.

    Raises:
        InputError: bad input, before anything is run or written.
        SweepInterrupted: Ctrl-C, after what is done has been written.

    Example::

        report = parity.sweep(parity.SweepConfig(frameworks=("jax",), depths=(1, 2), dataset="synthetic"))
        for threshold in report.thresholds:
            print(threshold.group, threshold.smallest_divergent)
    """
    execution, progress = execution or Execution(), progress or SilentProgress()
    prepared = prepare(config, out, data_dir, execution=execution, extend=extend, parquet=parquet)
    config = prepared.config
    refuse_second(prepared.folder)
    with (  # in this order, so that an executor that cannot be had leaves no folder behind
        open_executor(execution, config, prepared.backends, prepared.data, prepared.digest) as executor,
        _open_store(prepared, extend) as store,
    ):
        # A path in the command may hold bytes that are no text.
        words = (command or f"parity.sweep({config})").encode(errors="backslashreplace").decode()
        outcome = _Outcome(prepared, store, words, parquet, write_page)
        try:
            for found in _run(prepared, executor, execution.time_limit, store, progress, fail_fast):
                outcome.done |= found
            report = outcome.report()
            outcome.write(report)
        except KeyboardInterrupt as interruption:
            report = outcome.so_far()
            try:
                outcome.write(report)
            except InputError as error:
                progress.say(str(error))
            finally:
                raise SweepInterrupted(report, *interruption.args) from None
        except TrialError as failure:
            report = outcome.so_far()
            outcome.write(report)
            progress.say(f"stopped at the first trial that crashed ({failure}); the same command goes on from there")
            return report
        except InputError:  # the store cannot be written any more (a full disk, say), or a worker is unfit
            with suppress(InputError):  # the first error is the one to report
                outcome.write(outcome.so_far())
            raise
    return report


@contextmanager
def _open_store(prepared: Prepared, extend: bool) -> Iterator[Store]:
    """Open the store, in a folder that is made for it and locked against other sweeps."""
    if (folder := prepared.folder) is None:
        with Store(None, prepared.identity) as store:
            yield store
        return
    make_folder(folder, [name for name in OUTPUTS if name != "figures"], option="--out")
    with locked(folder):
        if extend and stored_words(folder / STORE) != prepared.stored:
            raise InputError(f"another sweep has just changed {folder / STORE}; run the same command again")
        with Store(folder / STORE, prepared.identity, extend=extend) as store:
            for place in (folder, folder / "figures"):
                remove_leftovers(place)
            yield store


@dataclass
class _Outcome:
    """The results of a sweep, and how they are written.

    Args:
        prepared: the sweep.
        store: its store.
        command: what made it.
        parquet, write_page: as those of `sweep`.
        done: the trials of finished groups.
    """

    prepared: Prepared
    store: Store
    command: str
    parquet: bool
    write_page: PageWriter | None
    done: dict[Group, Sequence[Trial]] = field(default_factory=dict)

    def so_far(self) -> SweepReport:
        """Return the report of an unfinished sweep.

        It holds all trials of finished groups, and of the others the trials of the grid and those that crashed.
        """
        config, started = self.prepared.config, {}
        grid = set(config.learning_rates.values())
        for group in config.groups():
            if group in self.done:
                continue
            unit = make_unit(config, [group], self.store)
            if unit.found is not None:
                self.done |= unit.found
                continue
            trials = self.store.find(group, Status.ERROR).values()
            if kept := [t for t in trials if t.learning_rate in grid or t.status is Status.ERROR]:
                started[group] = kept
        return self.report(started if len(self.done) < len(config.groups()) else None)

    def report(self, started: Mapping[Group, Sequence[Trial]] | None = None) -> SweepReport:
        """Return the report of finished groups and, if the sweep was interrupted, of those that it had started."""
        entropy = self.prepared.data.label_entropy
        thresholds = (find_threshold(group, self.done[group], entropy) for group in sorted(self.done))
        trials = {**self.done, **(started or {})}
        return SweepReport(
            config=self.prepared.config,
            dataset=self.prepared.dataset,
            label_entropy=entropy,
            environment=self.prepared.environment,
            command=self.command,
            trials=tuple(trial for group in sorted(trials) for trial in trials[group]),
            thresholds=tuple(threshold for threshold in thresholds if threshold is not None),
            complete=started is None,
            titles={name: backend.shown_name for name, backend in self.prepared.backends.items()},
        )

    def write(self, report: SweepReport) -> None:
        """Write the tables and the page, if there is a folder."""
        if self.prepared.folder is None:
            return
        write_tables(report, self.prepared.folder, self.parquet)
        if self.write_page is not None:
            self.write_page(report, self.prepared.folder)
        else:  # an earlier page would show other trials
            with suppress(OSError):
                (self.prepared.folder / "report.html").unlink()


def _run(
    prepared: Prepared,
    executor: Executor,
    time_limit: float | None,
    store: Store,
    progress: Progress,
    fail_fast: bool,
) -> Iterator[Found]:
    """Yield groups with their trials, as they end. What the store holds is not run again."""
    config, samples = prepared.config, len(prepared.data.train_labels)

    def note(groups: Sequence[Group]) -> str:
        backend = prepared.backends[groups[0].framework]
        return f"about {bytes_in_words(needed_bytes(backend, config, groups, samples))}"

    def block(wanted: Wanted) -> Block:
        there = what_decides(prepared.backends[next(iter(wanted)).framework])
        return Block(config, wanted, prepared.digest, there, time_limit)

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
        yield from Schedule(config, executor, store, meter, block).run(units, fail_fast)
        if not to_train:
            progress.update(1.0, "done")


def _split(family: Sequence[Group], executor: Executor, prepared: Prepared) -> Sequence[Sequence[Group]]:
    """Split a family into the units that are trained: whole if its groups affect each other's last digits."""
    whole = executor.pools_seeds or prepared.backends[family[0].framework].accelerator
    return [family] if whole else [(group,) for group in family]
