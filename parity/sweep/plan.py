"""What of a sweep is done, and what is left, without running it."""

from collections.abc import Sequence
from dataclasses import dataclass

from parity.divergence import BRACKET_RATIO
from parity.divergence.bisection import bisection_tree
from parity.sweep.grid import LANES_OF_A_BISECTION, Group, SweepConfig
from parity.sweep.meter import block_cost
from parity.sweep.schedule import make_unit, missing
from parity.sweep.store import Store

LARGEST_LIVING = 2.0  # a learning rate; networks with batch norm diverge between 1 and 3.16


@dataclass(frozen=True)
class GroupPlan:
    """One group.

    Args:
        group: framework, depth, batch norm and seed.
        done: trials that are kept, of those that it needs.
        to_run: trials that it needs next; a bisection may need more after them.
        finished: whether nothing is left.
        cost: of what is to run and of a bisection after it, in the unit of `block_cost`.
        lanes: of each block that is left, for as long as it is trained.
    """

    group: Group
    done: int
    to_run: int
    finished: bool
    cost: float
    lanes: tuple[int, ...] = ()


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
    blocks = [wanted[group]]
    if set(left) & set(grid):
        blocks += _bisection(config)
    cost = sum(block_cost(config, {group: rates}) for rates in blocks)
    lanes = tuple(_lanes(config, rates) for rates in blocks)
    return GroupPlan(group, in_grid + in_bisection, len(left), False, cost, lanes)


def _bisection(config: SweepConfig) -> list[Sequence[float]]:
    """The blocks of a bisection, wherever its bracket is: as if it were at the low end of the grid."""
    low, high, *_ = config.learning_rates.values()
    blocks: list[Sequence[float]] = []
    while high / low >= BRACKET_RATIO:
        blocks.append(bisection_tree(low, high, LANES_OF_A_BISECTION * config.population_size))
        high = min((rate for rate in blocks[-1] if rate > low), default=low)
    return blocks


def _lanes(config: SweepConfig, rates: Sequence[float]) -> int:
    """The lanes that rates fill once those that diverge have been left out, which they mostly do at once."""
    living = sum(rate <= LARGEST_LIVING for rate in rates)
    return max(1, -(-living // config.population_size))
