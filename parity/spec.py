"""What is computed: the network and its training, with every convention as a field.

A spec says everything that two implementations must share for their numbers to be comparable. Specs are frozen,
keyword-only, hashable (a compiled program is cached by its spec) and check themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from parity.errors import InputError

# The working dtype. bfloat16: weights and statistics float32, activations and matrix products bfloat16.
DType = Literal["float32", "float64", "bfloat16"]
# How float32 matrix products are computed: in float32, or with operands rounded to 10 or 7 bits of mantissa.
Precision = Literal["highest", "tf32", "bfloat16"]


Choice = TypeVar("Choice", bound=StrEnum)


class RunningVariance(StrEnum):
    """Which estimate of the batch variance enters the running variance."""

    UNBIASED = "unbiased"  # sum of squares / (n - 1), as torch.nn.BatchNorm1d
    BIASED = "biased"  # sum of squares / n, as flax.linen.BatchNorm


class BlockOrder(StrEnum):
    """Where batch norm stands in a hidden block."""

    ACTIVATION_FIRST = "activation_first"  # Linear, ReLU, BatchNorm: the lab's
    NORM_FIRST = "norm_first"  # Linear, BatchNorm, ReLU: Ioffe and Szegedy (2015)


class Initialization(StrEnum):
    """How kernels (and biases) start; see `parity.weights.draw_weights` for the formulas."""

    UNIFORM_FAN_IN = "uniform_fan_in"
    HE_NORMAL = "he_normal"
    LECUN_NORMAL = "lecun_normal"
    ORTHOGONAL = "orthogonal"


def use_python_values(config: Any) -> None:
    """Replace NumPy's numbers among the fields of a dataclass by Python's own, and arrays by tuples.

    They compare and print alike then, and can be written as JSON and TOML.
    """
    for field in fields(config):
        object.__setattr__(config, field.name, _python_value(getattr(config, field.name)))


def _python_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return tuple(value.tolist()) if value.ndim else value.item()
    return type(value)(map(_python_value, value)) if type(value) in (list, tuple) else value


def check_count(name: str, value: int, minimum: int, why: str, most: int | None = None) -> None:
    """Raise `InputError` unless `value` is an integer of at least `minimum`, and at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum} ({why}), got {_shown(value)}")
    if most is not None and value > most:
        raise InputError(f"{name} must be at most {most}, got {_shown(value)}")


def check_values(name: str, values: object) -> tuple[Any, ...]:
    """`values` without repetitions; raises `InputError` unless it is a sequence of at least one text or number."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{name} must be a tuple, such as ({values!r},), got {values!r}")
    if not values:
        raise InputError(f"{name} must name at least one value, got none")
    if not all(isinstance(value, str | int | float) for value in values):
        raise InputError(f"{name} must be a tuple of single values, got {values!r}")
    return tuple(dict.fromkeys(values))


def check_fraction(fraction: float) -> None:
    """Raise `InputError` unless `fraction` is a share of a training set."""
    if not _is_real(fraction) or not 0 < fraction <= 1:
        raise InputError(f"fraction must be above 0 and at most 1, got {_shown(fraction)}")


def _shown(value: object) -> str:
    """The value as Python writes it, which it does not for an integer of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return "an integer that is too long to be shown"


def _is_real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_real(name: str, value: float, *, above: float, why: str) -> None:
    """Raise `InputError` unless `value` is a finite number greater than `above`."""
    if not _is_real(value) or not above < value < np.inf:
        raise InputError(f"{name} must be a finite number above {above:g} ({why}), got {_shown(value)}")


def as_choice(name: str, value: str, kind: type[Choice]) -> Choice:
    """Return the member of `kind` with that value.

    Raises:
        InputError: there is none; the message lists the choices.
    """
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{name} must be one of {', '.join(kind)}, got {value!r}") from None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A multilayer perceptron: `num_hidden_layers` hidden blocks and a linear head.

    With the lab's order a block computes, for a batch `x` of shape (n, fan_in)::

        z = x @ kernel + bias                                   (n, hidden_width)
        a = max(z, 0)                                           derivative 0 at 0
        m = mean(a, axis=0);  v = mean((a - m)**2, axis=0)      biased, two-pass
        y = gamma * (a - m) / sqrt(v + eps) + beta              when training
        y = gamma * (a - running_mean) / sqrt(running_var + eps) + beta     when evaluating

        running_mean = decay * running_mean + (1 - decay) * m
        running_var  = decay * running_var  + (1 - decay) * v * n / (n - 1)   ("unbiased"; "biased": without the factor)

    Dropout, at the end of a block and in training only, keeps the units of a mask, and a residual block adds its input
    (the first block's has another width, so it adds none)::

        y = mask * y / (1 - dropout_rate)
        y = x + y                                               residual

    Args:
        input_dim: number of input features (784 pixels).
        output_dim: number of classes.
        num_hidden_layers: depth, 1 or more.
        hidden_width: units in each hidden layer.
        use_batch_norm: whether the blocks have batch norm.
        eps: added to the variance, inside the square root.
        decay: share of the old running statistic that is kept. Torch's `momentum` is `1 - decay`, Flax's is `decay`.
        running_variance: "unbiased" (Torch) or "biased" (stock Flax).
        block_order: "activation_first" (the lab) or "norm_first" (the paper).
        initialization: the scheme of the initial kernels and biases.
        dropout_rate: the chance that a unit is dropped, for `parity.data.draw_masks`; 0 is no dropout.
        residual: whether the blocks are residual.

    Raises:
        InputError: a field breaks its rule; the message names the rule, the reason and the value.

    References: Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
    Covariate Shift", 2015; Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    2014; He et al., "Deep Residual Learning for Image Recognition", 2016.

    >>> ModelSpec(num_hidden_layers=2).hidden_width
    64
    """

    input_dim: int = 784
    output_dim: int = 10
    num_hidden_layers: int = 3
    hidden_width: int = 64
    use_batch_norm: bool = True
    eps: float = 1e-5
    decay: float = 0.9
    running_variance: RunningVariance = RunningVariance.UNBIASED
    block_order: BlockOrder = BlockOrder.ACTIVATION_FIRST
    initialization: Initialization = Initialization.UNIFORM_FAN_IN
    dropout_rate: float = 0.0
    residual: bool = False

    def __post_init__(self) -> None:
        use_python_values(self)
        check_count("input_dim", self.input_dim, 1, "a network needs an input")
        check_count("output_dim", self.output_dim, 2, "classification needs at least two classes")
        check_count("num_hidden_layers", self.num_hidden_layers, 1, "the depth counts hidden layers")
        check_count("hidden_width", self.hidden_width, 1, "a layer needs a unit")
        for name in ("use_batch_norm", "residual"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, got {getattr(self, name)!r}")
        check_real("eps", self.eps, above=0, why="a constant feature has variance 0")
        for name, meaning in (
            ("decay", "the share of the old statistic that is kept"),
            ("dropout_rate", "the chance that a unit is dropped"),
        ):
            rate = getattr(self, name)
            if not _is_real(rate) or not 0 <= rate < 1:
                raise InputError(f"{name} must be at least 0 and below 1 (it is {meaning}), got {rate!r}")
        for name, kind in (
            ("running_variance", RunningVariance),
            ("block_order", BlockOrder),
            ("initialization", Initialization),
        ):
            object.__setattr__(self, name, as_choice(name, getattr(self, name), kind))


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Training by plain minibatch SGD on the mean cross entropy: `weight -= learning_rate * gradient`.

    Args:
        batch_size: samples in a minibatch, drawn with replacement.
        num_passes: passes over the training set, each of `round(n / batch_size)` updates.
        seed: gives the initial weights, the index stream and the dropout masks, by independent children
            (`child_seeds`).
        dtype: working dtype of weights, statistics and arithmetic.

    The learning rate is no field: it is a run-time value, so that one compiled program serves them all.

    Raises:
        InputError: a field breaks its rule.
    """

    batch_size: int = 32
    num_passes: int = 5
    seed: int = 0
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        use_python_values(self)
        check_count("batch_size", self.batch_size, 1, "an update needs a sample")
        check_count("num_passes", self.num_passes, 1, "training needs a pass")
        check_count("seed", self.seed, 0, "NumPy's seeds are not negative")
        if self.dtype not in get_args(DType):
            raise InputError(f"dtype must be one of {', '.join(get_args(DType))}, got {self.dtype!r}")


def check_training_batch(batch_size: int) -> None:
    """Refuse a batch that has no variance; every backend says it in these words.

    Raises:
        InputError: `batch_size` is below 2.
    """
    if batch_size < 2:
        raise InputError(
            f"training with batch norm needs a batch of at least 2 (one sample has no variance), got {batch_size}"
        )


class ChildSeeds(NamedTuple):
    """The independent children of a trial's seed."""

    weights: np.random.SeedSequence
    batches: np.random.SeedSequence
    masks: np.random.SeedSequence


def child_seeds(seed: int) -> ChildSeeds:
    """The children of a trial's seed: for the initial weights, for the index stream, and for dropout masks."""
    check_count("seed", seed, 0, "NumPy's seeds are not negative")
    return ChildSeeds(*np.random.SeedSequence(seed).spawn(3))
