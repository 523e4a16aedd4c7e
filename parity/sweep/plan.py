"""What of a sweep is done, and what is left, without running it."""

from dataclasses import dataclass

from parity.sweep.grid import Group, SweepConfig
from parity.sweep.meter import block_cost
from parity.sweep.schedule import make_unit, missing
from parity.sweep.store import Store


@dataclass(frozen=True)
class GroupPlan:
    """One group.

    Args:
        group: framework, depth, batch norm and seed.
        done: trials that are kept, of those that it needs.
        to_run: trials that it needs next; a bisection may need more after them.
        finished: whether nothing is left.
        cost: of what is to run, in the unit of `block_cost`.
    """

    group: Group
    done: int
    to_run: int
    finished: bool
    cost: float


@dataclass(frozen=True)
class Plan:
    """All groups of a sweep."""

    groups: tuple[GroupPlan, ...]

    @property
    def done(self) -> int:
        """Trials that are kept."""
        return sum(group.done for group in self.groups)

    @property
    def to_run(self) -> int:
        """Trials that are known to be needed."""
        return sum(group.to_run for group in self.groups)

    @property
    def more(self) -> str:
        """What cannot be known before it is run, in words."""
        open_ends = sum(not group.finished for group in self.groups)
        return f", and what the bisection of {open_ends} brackets needs" if open_ends else ""

    def cost(self, framework: str) -> float:
        """The work that is left for a framework."""
        return sum(group.cost for group in self.groups if group.group.framework == framework)


def plan(config: SweepConfig, store: Store) -> Plan:
    """What a store holds of a sweep, and what it does not.

    Args:
        config: the sweep.
        store: of it.
    """
    return Plan(tuple(_plan(config, group, store) for group in config.groups()))


def _plan(config: SweepConfig, group: Group, store: Store) -> GroupPlan:
    unit, known = make_unit(config, [group], store), store.find(group)
    if unit.found is not None:
        return GroupPlan(group, len(unit.found[group]), 0, True, 0.0)
    wanted = missing(unit, store)
    grid = config.learning_rates.values()
    in_grid = sum(rate in known for rate in grid)
    left = [rate for rate in wanted[group] if rate not in known]
    in_bisection = 0 if set(wanted[group]) & set(grid) else len(known) - in_grid
    # A grid may be followed by one bisection, of two lanes.
    bisection = block_cost(config, {group: grid[: 2 * config.population_size]}) if set(left) & set(grid) else 0.0
    return GroupPlan(group, in_grid + in_bisection, len(left), False, block_cost(config, wanted) + bisection)
