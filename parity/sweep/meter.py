"""How much of a sweep is done, and how much work a block is."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from parity.divergence import BRACKET_RATIO
from parity.progress import Progress
from parity.sweep.grid import LANES_OF_A_BISECTION, Group, SweepConfig

ALMOST = 0.99  # 1 is shown once, when all is done


class Meter:
    """Estimates how much of a sweep is done: an update costs about as much as its network has layers.

    Args:
        config: the sweep.
        progress: shows it.
        to_train: the groups that are not done yet.
        note: returns what else to show about a block of these groups.
    """

    def __init__(
        self,
        config: SweepConfig,
        progress: Progress,
        to_train: Iterable[Group],
        note: Callable[[Sequence[Group]], str] = lambda groups: "",
    ) -> None:
        self._progress, self._note, self._finished = progress, note, 0
        self._total = sum(_layers(group) for group in to_train)
        self._most_blocks = most_blocks(config)
        self._under_way: dict[Sequence[Group], tuple[int, float]] = {}  # blocks begun, share of the last
        self._trouble = ""

    def start(self, groups: Sequence[Group], wanted: Iterable[Group]) -> Callable[[float], None]:
        """Begin a block that trains `wanted`, some of these groups; return a function that takes the share done."""
        begun, wanted = self._under_way.get(groups, (0, 0.0))[0] + 1, tuple(wanted)
        note = self._note(wanted)

        def tick(share: float) -> None:
            self._under_way[groups] = begun, share
            more = len(self._under_way) - 1
            beside = f" and {more} more" if more else ""
            self._tell(f"{describe(wanted)}{beside}{note and f', {note}'}")

        tick(0.0)
        return tick

    def finish(self, groups: Sequence[Group]) -> None:
        """Count these groups as done."""
        self._under_way.pop(groups, None)
        self._finished += sum(map(_layers, groups))
        if self._finished == self._total:
            self._progress.update(1.0, "done")

    def tell_trouble(self, trouble: str) -> None:
        """Show once why nothing goes on; "" if work goes on."""
        if trouble and trouble != self._trouble:
            self._progress.say(trouble)
        self._trouble = trouble

    def _tell(self, description: str) -> None:
        done = float(self._finished)
        for groups, (begun, share) in self._under_way.items():
            done += min((begun - 1 + share) / self._most_blocks, 1.0) * sum(map(_layers, groups))
        self._progress.update(min(done / self._total, ALMOST), description)


def _layers(group: Group) -> int:
    return group.depth + 2  # the wide first layer and the evaluation count as one more each


def block_cost(config: SweepConfig, wanted: Mapping[Group, Sequence[float]]) -> float:
    """Return how much work a block is: layers times lanes times shares of the training set."""
    lanes = {group: -(-len(rates) // config.population_size) for group, rates in wanted.items()}
    return config.num_passes * config.fraction * sum(_layers(group) * count for group, count in lanes.items())


def describe(groups: Sequence[Group]) -> str:
    """Return words for groups that differ only in their seeds."""
    text = str(groups[0])
    return text if len(groups) == 1 else f"{text.rpartition(' ')[0].removesuffix('seed')}{len(groups)} seeds"


def most_blocks(config: SweepConfig) -> int:
    """Return the largest number of blocks that a group can need: one for its grid, the rest for a whole bisection."""
    rates = config.learning_rates.values()
    halvings, log_ratio = 0, math.log(rates[1]) - math.log(rates[0])  # the ratio itself may overflow
    while log_ratio >= math.log(BRACKET_RATIO):
        halvings, log_ratio = halvings + 1, log_ratio / 2
    halvings_at_once = (LANES_OF_A_BISECTION * config.population_size + 1).bit_length() - 1
    return 1 + -(-halvings // halvings_at_once)
