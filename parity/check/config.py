"""What a check is asked."""

from dataclasses import dataclass, field, replace
from itertools import product

from parity.check.accepted import check_accepted
from parity.errors import InputError
from parity.spec import DType, ModelSpec, Precision, check_count, check_real, check_values, use_python_values

QUESTIONS = ("semantic", "precision", "free_run", "statistical")
SEVERAL = ("depths", "batch_norm", "questions", "dtypes", "sampled_steps", "accept")
DTYPES = ("float32", "bfloat16", "float64")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What to compare, and how thoroughly.

    Args:
        spec: the network, whose depth and use of batch norm are those of `depths` and `batch_norm`.
        depths: numbers of hidden layers.
        batch_norm: with, without, or both.
        questions: any of "semantic", "precision", "free_run", "statistical".
        dtypes: working dtypes of the precision question: "float32", "bfloat16".
        precision: of float32 matrix products, set explicitly on both sides: "highest", "tf32", "bfloat16".
        device: "cpu", "gpu", "tpu", or "" for the framework's own choice.
        dataset: whose images are standardized and trained on.
        seed: of the first initial weights and index stream.
        num_seeds: how many seeds the semantic and the precision question look at, from `seed` on.
        batch_size: samples in a minibatch.
        learning_rate: of the trajectory that is sampled.
        sampled_steps: the updates of it that are compared; a carried window follows the first two.
        free_run_updates: how long both run on their own.
        statistical_seeds: pairs of trainings of the statistical question.
        time_limit: seconds that one answer of a side may take.
        accept: differences of the catalogue that the reference is played with, so that all else is judged exactly.

    Fields of several values take any list, range or NumPy array, and numbers may be NumPy's: Python's own are kept.

    Raises:
        InputError: a field breaks its rule.
    """

    spec: ModelSpec = field(default_factory=ModelSpec)
    depths: tuple[int, ...] = (1, 3, 8, 25)
    batch_norm: tuple[bool, ...] = (True, False)
    questions: tuple[str, ...] = ("semantic", "precision")
    dtypes: tuple[DType, ...] = ("float32",)
    precision: Precision = "highest"
    device: str = ""
    dataset: str = "synthetic"
    seed: int = 0
    num_seeds: int = 1
    batch_size: int = 32
    learning_rate: float = 0.1
    sampled_steps: tuple[int, ...] = (0, 3, 10)
    free_run_updates: int = 200
    statistical_seeds: int = 12
    time_limit: float = 120.0
    accept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        use_python_values(self)
        if self.questions == ():
            raise InputError(f"a check asks at least one question of {', '.join(QUESTIONS)}, got none")
        for name in SEVERAL:
            if name != "accept" or self.accept != ():  # only this one may be empty
                object.__setattr__(self, name, check_values(name, getattr(self, name)))
        for name, choices in (("questions", QUESTIONS), ("dtypes", DTYPES)):
            for item in getattr(self, name):
                if item not in choices:
                    raise InputError(f"{name} must be of {', '.join(choices)}, got {item!r}")
        for norm in self.batch_norm:
            if not isinstance(norm, bool):
                raise InputError(f"batch_norm must be of True, False, got {norm!r}")
        for depth in self.depths:
            check_count("a depth", depth, 1, "the depth counts hidden layers")
        check_count("seed", self.seed, 0, "NumPy's seeds are not negative")
        check_count("num_seeds", self.num_seeds, 1, "a check needs a seed")
        check_count("batch_size", self.batch_size, 2, "one sample has no variance")
        check_count("free_run_updates", self.free_run_updates, 1, "a run needs an update")
        check_count("statistical_seeds", self.statistical_seeds, 2, "a spread needs two")
        check_real("learning_rate", self.learning_rate, above=0, why="an update of nothing shows nothing")
        if self.precision not in ("highest", "tf32", "bfloat16"):
            raise InputError(f"precision must be highest, tf32 or bfloat16, got {self.precision!r}")
        if self.device not in ("", "cpu", "gpu", "tpu"):
            raise InputError(f"device must be cpu, gpu or tpu, got {self.device!r}")
        if not isinstance(self.time_limit, int | float) or not self.time_limit > 0:
            raise InputError(f"the time limit must be above 0 seconds, got {self.time_limit!r}")
        for step in self.sampled_steps:
            check_count("a sampled step", step, 0, "it counts updates")
        if 0 not in self.sampled_steps or list(self.sampled_steps) != sorted(set(self.sampled_steps)):
            raise InputError(f"sampled_steps must begin with 0 and rise, got {self.sampled_steps}")
        check_accepted(self.accept, self.questions, self.specs())

    def specs(self) -> list[ModelSpec]:
        """Return the networks that are asked for."""
        return [self.spec_of(depth, norm) for depth, norm in product(self.depths, self.batch_norm)]

    def spec_of(self, depth: int, batch_norm: bool) -> ModelSpec:
        """Return the network of a depth, with or without batch norm."""
        return replace(self.spec, num_hidden_layers=depth, use_batch_norm=batch_norm)


PRESETS = {
    "ci": CheckConfig(depths=(1, 3, 8, 25), batch_norm=(True, False), questions=("semantic", "precision")),
    "full": CheckConfig(
        depths=(1, 3, 8, 25, 50),
        batch_norm=(True, False),
        questions=QUESTIONS,
        dtypes=("float32", "bfloat16"),
        num_seeds=3,
    ),
}
"""What `--preset` stands for."""
