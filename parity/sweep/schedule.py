"""The order of a sweep: blocks go out as they are needed, and come back as they are done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from parity.divergence import Status
from parity.sweep.blocks import Block, Done
from parity.sweep.executors import Executor
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.meter import Meter, block_cost
from parity.sweep.records import Trial
from parity.sweep.run import GroupSearch, search_groups
from parity.sweep.store import Store
from parity.sweep.train import Wanted

Found = Mapping[Group, Sequence[Trial]]
LOOK_AROUND = 5.0  # seconds without an end of anything after which it is asked why


@dataclass(eq=False)
class Unit:
    """Groups that are trained as one block after the other.

    Args:
        groups: they differ in their seeds only.
        searching: says what is needed next.
        wanted: what is needed now.
        found: the trials of groups that are done.
    """

    groups: Sequence[Group]
    searching: GroupSearch
    wanted: Wanted = field(default_factory=dict)
    found: Found | None = None

    def take(self, trials: Mapping[Group, Mapping[float, Trial]]) -> None:
        """What was wanted, so that the next is known."""
        try:
            self.wanted = self.searching.send(trials)
        except StopIteration as stop:
            self.wanted, self.found = {}, stop.value


def make_unit(config: SweepConfig, groups: Sequence[Group], store: Store) -> Unit:
    """A unit that has taken all that the store knows."""
    unit = Unit(groups, search_groups(config, groups))
    unit.wanted = next(unit.searching)
    _take_known(unit, store)
    return unit


def missing(unit: Unit, store: Store) -> Wanted:
    """What of a unit's wanted trials the store does not hold: of each group all or nothing, as it was first trained."""
    known = {group: store.find(group) for group in unit.wanted}
    return {g: tuple(rates) for g, rates in unit.wanted.items() if not all(rate in known[g] for rate in rates)}


def _take_known(unit: Unit, store: Store) -> None:
    """Go on as far as the store's trials lead."""
    known = {group: store.find(group) for group in unit.groups}
    while unit.found is None and all(rate in known[g] for g, rates in unit.wanted.items() for rate in rates):
        unit.take({g: {rate: known[g][rate] for rate in rates} for g, rates in unit.wanted.items()})


class TrialError(Exception):
    """A trial crashed where a sweep is to stop at the first that does."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(f"{trial.group}, learning rate {trial.learning_rate:g}: {trial.message}")


@dataclass(frozen=True)
class Schedule:
    """Trains units to their end; what is done is in the store before anything else happens.

    Args:
        config: the sweep.
        executor: trains blocks.
        store: keeps them.
        meter: shows how far it is.
        block: makes a block of what is wanted.
    """

    config: SweepConfig
    executor: Executor
    store: Store
    meter: Meter
    block: Callable[[Wanted], Block]
    _under_way: dict[Future[Done], tuple[Unit, Block]] = field(default_factory=dict, init=False)

    def run(self, units: Sequence[Unit], fail_fast: bool) -> Iterator[Found]:
        """Train every unit.

        Args:
            units: in the order in which they begin.
            fail_fast: whether a trial that crashes ends it.

        Yields:
            The trials of a unit's groups, as it ends.

        Raises:
            TrialError: with `fail_fast`, after the block of the trial has been kept.
        """
        waiting, all_begun = iter(units), False
        while True:
            while not all_begun and len(self._under_way) < self.executor.width:
                unit = next(waiting, None)
                if unit is None:
                    all_begun = True
                elif unit.found is not None:
                    yield unit.found
                else:
                    self._submit(unit)
            if not self._under_way:
                return
            for future in self._wait():
                unit, trials = self._keep(future)
                if fail_fast and (crash := next((trial for trial in trials if trial.status is Status.ERROR), None)):
                    raise TrialError(crash)
                if unit.found is None:
                    self._submit(unit)
                else:
                    self.meter.finish(unit.groups)
                    yield unit.found

    def _submit(self, unit: Unit) -> None:
        block = self.block(missing(unit, self.store))
        tick = self.meter.start(unit.groups, block.wanted)
        self._under_way[self.executor.submit(block, tick)] = unit, block

    def _wait(self) -> set[Future[Done]]:
        while not (ended := wait(self._under_way, LOOK_AROUND, FIRST_COMPLETED).done):
            self.meter.tell_trouble(self.executor.trouble)
        return ended

    def _keep(self, future: Future[Done]) -> tuple[Unit, Sequence[Trial]]:
        """Record a block that has ended, and let its unit go on as far as the store leads."""
        unit, block = self._under_way.pop(future)
        done = future.result()
        trials = [trial for own in done.trained.values() for trial in own.values()]
        self.store.record(trials, block_cost(self.config, block.wanted), done.seconds)
        unit.take({group: _of(group, rates, done, self.store) for group, rates in unit.wanted.items()})
        _take_known(unit, self.store)
        return unit, trials


def _of(group: Group, rates: Sequence[float], done: Done, store: Store) -> dict[float, Trial]:
    """The trials at these learning rates, as they were first recorded."""
    trials = dict(done.trained.get(group, {})) | store.find(group)
    return {rate: trials[rate] for rate in rates}
