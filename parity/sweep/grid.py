"""The grid of a sweep: which trials there are."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from parity.divergence import LearningRates
from parity.errors import InputError
from parity.spec import (
    BlockOrder,
    Initialization,
    ModelSpec,
    TrainSpec,
    check_count,
    check_fraction,
    check_training_batch,
    check_values,
    use_python_values,
)

# Beyond these a value is a slip of the finger.
MOST_LAYERS = 10_000
MOST_SEEDS = 10_000
MOST_PASSES = 1_000_000
MOST_MEMBERS = 100_000
# On two cores or more, two take about the time of one: a bisection of four halvings is then one round.
LANES_OF_A_BISECTION = 2
# The command line, config.toml and the store use a field's own name, but for these.
OPTION_NAMES = {"frameworks": "framework", "num_seeds": "seeds", "num_passes": "passes"}
BATCH_NORM = {"on": (True,), "off": (False,), "both": (False, True)}


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Everything that decides the numbers of a sweep.

    Args:
        frameworks: names of backends.
        depths: numbers of hidden layers.
        batch_norm: the settings of batch norm to compare.
        learning_rates: the grid, before refinement.
        num_seeds: seeds 0 to `num_seeds - 1`.
        num_passes: passes over the training subsample.
        dataset: name of the data set.
        hidden_width: units in each hidden layer.
        batch_size: samples in a minibatch.
        fraction: share of the training set that is used.
        population_size: learning rates in a lane, which share minibatches and are trained at once. A framework's
            rounding may depend on it, so it is part of what decides the numbers.
        device: "cpu", "gpu", "tpu", or "" for each framework's own choice.
        block_order, initialization, residual, dropout_rate: of `ModelSpec`.

    Raises:
        InputError: a field breaks its rule.
    """

    frameworks: tuple[str, ...]
    depths: tuple[int, ...]
    batch_norm: tuple[bool, ...] = (False, True)
    learning_rates: LearningRates = field(default_factory=lambda: LearningRates(0.001, 10.0, 9))
    num_seeds: int = 1
    num_passes: int = 2
    dataset: str = "fashion-mnist"
    hidden_width: int = 64
    batch_size: int = 32
    fraction: float = 0.1
    population_size: int = 8
    device: str = ""
    block_order: BlockOrder = BlockOrder.ACTIVATION_FIRST
    initialization: Initialization = Initialization.UNIFORM_FAN_IN
    residual: bool = False
    dropout_rate: float = 0.0

    def __post_init__(self) -> None:
        use_python_values(self)
        for name in ("frameworks", "depths", "batch_norm"):
            object.__setattr__(self, name, check_values(name, getattr(self, name)))
        if not isinstance(self.learning_rates, LearningRates):
            raise InputError(
                "learning_rates must be LearningRates, such as LearningRates(0.001, 10, 9), "
                f"got {self.learning_rates!r}"
            )
        for depth in self.depths:
            check_count("depths", depth, 1, "a depth counts hidden layers", MOST_LAYERS)
        check_count("seeds", self.num_seeds, 1, "it is the number of seeds", MOST_SEEDS)
        check_count("passes", self.num_passes, 1, "training needs a pass", MOST_PASSES)
        check_count("population_size", self.population_size, 1, "a population needs a member", MOST_MEMBERS)
        check_fraction(self.fraction)
        self.train_spec(0)
        for depth, batch_norm in itertools.product(self.depths, self.batch_norm):
            self.model_spec(Group("", depth, batch_norm, 0))
        if any(self.batch_norm):
            check_training_batch(self.batch_size)

    @classmethod
    def from_words(cls, words: Mapping[str, Any]) -> Self:
        """Make a configuration from the words of the command line; other words are left out.

        Raises:
            InputError: a word breaks its rule.
        """
        options = {field.name: OPTION_NAMES.get(field.name, field.name) for field in fields(cls)}
        given = {name: words[option] for name, option in options.items() if option in words}
        read = {"learning_rates": LearningRates.parse, "batch_norm": BATCH_NORM.__getitem__}
        try:
            return cls(**given | {name: read[name](given[name]) for name in read.keys() & given})
        except (AttributeError, KeyError) as error:  # a word of another type, or none that is known
            raise InputError(f"these are no words of a sweep: {given!r}; write the command's options") from error

    def to_words(self) -> dict[str, Any]:
        """Return all fields in the words of the command line."""
        words = {OPTION_NAMES.get(field.name, field.name): getattr(self, field.name) for field in fields(self)}
        words["batch_norm"] = ["on" if value else "off" for value in self.batch_norm]
        return {
            name: list(value) if isinstance(value, tuple) else str(value) if isinstance(value, LearningRates) else value
            for name, value in words.items()
        }

    def groups(self) -> tuple["Group", ...]:
        """Return every (framework, depth, batch norm, seed), in the order in which they are run."""
        return tuple(group for family in self.families() for group in family)

    def families(self) -> tuple[tuple["Group", ...], ...]:
        """Return the groups in families, which differ only in their seeds and are trained together.

        Frameworks alternate, so that an unfinished sweep can be compared, and the time left can be estimated.
        """
        return tuple(
            tuple(Group(framework, depth, batch_norm, seed) for seed in range(self.num_seeds))
            for depth in self.depths
            for batch_norm in self.batch_norm
            for framework in self.frameworks
        )

    def lanes_of(self, groups: int) -> int:
        """Return the largest number of lanes that `groups` of a family have at once, in grids or bisections."""
        return groups * max(-(-self.learning_rates.count // self.population_size), LANES_OF_A_BISECTION)

    def model_spec(self, group: "Group") -> ModelSpec:
        """Return the network of a group."""
        return ModelSpec(
            num_hidden_layers=group.depth,
            hidden_width=self.hidden_width,
            use_batch_norm=group.batch_norm,
            block_order=self.block_order,
            initialization=self.initialization,
            residual=self.residual,
            dropout_rate=self.dropout_rate,
        )

    def train_spec(self, seed: int) -> TrainSpec:
        """Return the training of a seed."""
        return TrainSpec(batch_size=self.batch_size, num_passes=self.num_passes, seed=seed)


def extended(config: SweepConfig, found: Mapping[str, str]) -> SweepConfig:
    """Return a sweep with the grid of another added to its own.

    Args:
        config: the sweep.
        found: the words of the other sweep, each as JSON; empty if there is none.

    Raises:
        InputError: the learning rates of neither are among those of the other.
    """
    if not found:
        return config
    try:
        stored = {
            name: json.loads(found[name]) for name in ("learning_rates", "framework", "depths", "batch_norm", "seeds")
        }
        theirs, ours = LearningRates.parse(stored["learning_rates"]), config.learning_rates
        seeds = max(stored["seeds"], config.num_seeds)
        norms = [word == "on" for word in stored["batch_norm"]]
        frameworks, depths = (tuple(stored[name]) for name in ("framework", "depths"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"the store to extend is damaged ({error}); restore a copy of it, or choose another --out"
        ) from None
    values, own = set(theirs.values()), set(ours.values())
    if not (values <= own or own <= values):
        raise InputError(
            f"--extend keeps what is done, so learning rates must hold all {theirs.count} of {theirs}, and {ours} "
            f"does not; try {LearningRates(theirs.low, theirs.high, 2 * theirs.count - 1)}"
        )
    return replace(
        config,
        frameworks=(*frameworks, *config.frameworks),
        depths=(*depths, *config.depths),
        batch_norm=(*norms, *config.batch_norm),
        learning_rates=ours if values <= own else theirs,
        num_seeds=seeds,
    )


@dataclass(frozen=True, order=True)
class Group:
    """The trials that differ only in their learning rate; they share their initial weights and minibatches."""

    framework: str
    depth: int
    batch_norm: bool
    seed: int

    def __str__(self) -> str:
        norm = "with" if self.batch_norm else "without"
        return f"{self.framework}, depth {self.depth}, {norm} batch norm, seed {self.seed}"
