"""Choose which trials a sweep trains next: the grid of each group, then the bisection of its first bracket."""

from collections.abc import Generator, Mapping, Sequence

from parity.divergence import bisect, find_bracket
from parity.divergence.bisection import Search
from parity.sweep.grid import LANES_OF_A_BISECTION, Group, SweepConfig
from parity.sweep.records import Trial

Blocks = Mapping[Group, Mapping[float, Trial]]
GroupSearch = Generator[Mapping[Group, Sequence[float]], Blocks, dict[Group, list[Trial]]]


def search(config: SweepConfig) -> Search[Trial]:
    """Search a group: its grid, then the bisection of its first bracket.

    This yields the learning rates that it needs next, receives their trials, and returns those that count.
    """
    rates = config.learning_rates.values()
    trials = dict((yield rates))
    bracket = find_bracket(trials.values())
    if bracket is not None:
        path = yield from bisect(*bracket, LANES_OF_A_BISECTION * config.population_size)
        # The middle of a bracket around a crashed trial is that trial again: one row for each learning rate.
        trials |= {trial.learning_rate: trial for trial in path}
    return [trials[rate] for rate in sorted(trials)]


def search_groups(config: SweepConfig, groups: Sequence[Group]) -> GroupSearch:
    """Search groups that share a network, whose blocks are trained together.

    This yields what the groups need next, receives their trials, and returns those of each group that count.

    Args:
        config: the sweep.
        groups: they differ in their seeds only.
    """
    searches = {group: search(config) for group in groups}
    wanted = {group: tuple(next(ongoing)) for group, ongoing in searches.items()}
    found: dict[Group, list[Trial]] = {}
    while wanted:
        trials, asked, wanted = (yield wanted), wanted, {}
        for group in asked:
            try:
                wanted[group] = tuple(searches[group].send(trials[group]))
            except StopIteration as stop:
                found[group] = stop.value
    return found
