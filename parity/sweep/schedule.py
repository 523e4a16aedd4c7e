"""The order of a sweep: blocks go out as they are needed, and come back as they are done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from parity.sweep.blocks import Block, Done
from parity.sweep.executors import Executor
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.progress import Meter, block_cost
from parity.sweep.records import Status, Trial
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


def run_units(
    config: SweepConfig,
    units: Sequence[Unit],
    executor: Executor,
    store: Store,
    meter: Meter,
    block: Callable[[Wanted], Block],
    fail_fast: bool,
) -> Iterator[Found]:
    """Train every unit to its end; what is done is in the store before anything else happens.

    Args:
        config: the sweep.
        units: in the order in which they begin.
        executor: trains blocks.
        store: keeps them.
        meter: is told how far it is.
        block: makes a block of what is wanted.
        fail_fast: whether a trial that crashes ends it.

    Yields:
        The trials of a unit's groups, as it ends.

    Raises:
        TrialError: with `fail_fast`, after the block of the trial has been kept.
    """
    waiting, under_way = iter(units), dict[Future[Done], tuple[Unit, Block]]()
    all_begun = False
    while True:
        while not all_begun and len(under_way) < executor.width:
            unit = next(waiting, None)
            if unit is None:
                all_begun = True
            elif unit.found is not None:
                yield unit.found
            else:
                _submit(config, unit, executor, store, meter, block, under_way)
        if not under_way:
            return
        while not (ended := wait(under_way, LOOK_AROUND, FIRST_COMPLETED).done):
            meter.tell_trouble(executor.trouble)
        for future in ended:
            unit, sent = under_way.pop(future)
            done = future.result()
            trials = [trial for own in done.trained.values() for trial in own.values()]
            store.record(trials, block_cost(config, sent.wanted), done.seconds)
            if fail_fast and (crash := next((trial for trial in trials if trial.status is Status.ERROR), None)):
                raise TrialError(crash)
            unit.take({group: _of(group, rates, done, store) for group, rates in unit.wanted.items()})
            _take_known(unit, store)
            if unit.found is None:
                _submit(config, unit, executor, store, meter, block, under_way)
            else:
                meter.finish(unit.groups)
                yield unit.found


def _of(group: Group, rates: Sequence[float], done: Done, store: Store) -> dict[float, Trial]:
    """The trials at these learning rates, as they were first recorded."""
    trials = dict(done.trained.get(group, {})) | store.find(group)
    return {rate: trials[rate] for rate in rates}


def _submit(
    config: SweepConfig,
    unit: Unit,
    executor: Executor,
    store: Store,
    meter: Meter,
    block: Callable[[Wanted], Block],
    under_way: dict[Future[Done], tuple[Unit, Block]],
) -> None:
    wanted = missing(unit, store)
    made = block(wanted)
    tick = meter.start(unit.groups, wanted)
    under_way[executor.submit(made, tick)] = unit, made
