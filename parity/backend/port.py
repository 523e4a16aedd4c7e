"""What any model shows when it is compared: the values at its modules' boundaries, its weights and their gradients."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from parity.backend.batch import map_arrays
from parity.backend.convention import Change, Option
from parity.errors import InputError
from parity.spec import Precision
from parity.verdict.noise import move_one_ulp
from parity.verdict.trace import Mode
from parity.weights import Array

# What holds numbers as masks do, and what is as good as infinite, is left where it is by simulated rounding.
LARGEST = 1e290


class End(StrEnum):
    """Where a value crosses the boundary of a module."""

    INPUT = "input"
    OUTPUT = "output"
    VALUE = "value"  # of a function without modules: what one of its operations gives


class Call(NamedTuple):
    """One call of a module.

    Args:
        module: its path with dots; "" is the model itself.
        number: of the call among those of this module, from 0. What is scanned is called once for each step.
    """

    module: str
    number: int


class Boundary(NamedTuple):
    """A value that enters or leaves a module.

    Args:
        call: of the module.
        end: whether it enters or leaves.
        leaf: which of the call's values, as the framework's tree of values names it; "" if there is only one.
    """

    call: Call
    end: End
    leaf: str


@dataclass(frozen=True)
class Tensor:
    """Shape and dtype of a value."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """What is known of a call before any value is.

    Args:
        call: which.
        type: name of the module's class.
        parent: the call within which it was made; None for the model itself.
        source: file and line that made the call; "" if not known.
    """

    call: Call
    type: str
    parent: Call | None
    source: str = ""


class Island(NamedTuple):
    """An operation that gives numbers narrower than float64, in a model that is run in float64.

    Args:
        source: file and line; "" if not known.
        operation: its name.
        dtype: of the numbers.
    """

    source: str
    operation: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.operation} gives {self.dtype} at {self.source or 'its library'}"


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """How a model is built, and in which order it computes.

    Args:
        calls: of its modules, in the order in which they begin.
        boundaries: in the order in which values cross them.
        parameters: what is trained, by path.
        statistics: what training changes without a gradient, by path.
        modules: every module that the model holds, called or not, with the name of its class.
        islands: what is computed in a narrower dtype.
        runs_in_float64: whether the model itself does; else it is one of float32 whose operations are lifted.
        sources: the boundaries whose values a boundary's value is computed from, with none in between.
        frozen: parameters that the model says are not trained.
        unused: inputs that the model does not take, where there is no loss that could.
    """

    calls: tuple[ModuleCall, ...]
    boundaries: Mapping[Boundary, Tensor]
    parameters: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]
    modules: Mapping[str, str] = field(default_factory=dict)
    islands: tuple[Island, ...] = ()
    runs_in_float64: bool = True
    sources: Mapping[Boundary, frozenset[Boundary]] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a model showed of one batch.

    Args:
        values: at each boundary, before it was replaced.
        cotangents: of the loss, at each boundary that it depends on, before they were replaced.
        loss: None without one.
        gradients: of the loss, by the parameter's path.
        statistics: after the batch, by path.
    """

    values: Mapping[Boundary, Array]
    cotangents: Mapping[Boundary, Array] = field(default_factory=dict)
    loss: float | None = None
    gradients: Mapping[str, Array] = field(default_factory=dict)
    statistics: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Forced:
    """What replaces a model's own values: each boundary is then judged alone.

    Args:
        values: by boundary; the others stay the model's own.
        cotangents: the same, backward.
    """

    values: Mapping[Boundary, Array] = field(default_factory=dict)
    cotangents: Mapping[Boundary, Array] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Simulated rounding: what goes in, and what every operation gives, is moved by one ulp, up or down at random.

    Args:
        bits: of mantissa.
        seed: of the signs.
    """

    bits: int
    seed: int

    def move(self, arrays: Mapping[Any, Any], salt: int) -> dict[Any, Any]:
        """Return float64 arrays moved, but for the largest floats and infinities, which masks hold; others as they are.

        Args:
            arrays: by any key; dictionaries, lists and tuples of them too.
            salt: another for each use, so that signs are drawn anew.
        """
        rng = np.random.default_rng([self.seed, salt])
        return map_arrays(partial(self._moved, rng), arrays)  # type: ignore[no-any-return]

    def move_forced(self, forced: Forced | None, salt: int) -> Forced | None:
        """Return what replaces a model's values, each moved when it is asked for: they are many, and not kept."""
        if forced is None:
            return None
        return Forced(values=_Moved(self, forced.values, salt), cotangents=_Moved(self, forced.cotangents, salt + 1))

    def _moved(self, rng: np.random.Generator, leaf: Any) -> Array:
        array = np.asarray(leaf)
        if array.dtype != np.float64:
            return array
        with np.errstate(all="ignore"):
            return np.where(np.abs(array) < LARGEST, move_one_ulp(array, self.bits, rng), array)


class _Moved(Mapping[Any, Array]):
    """Arrays that are moved as they are asked for; one is moved alike each time."""

    def __init__(self, rounding: Rounding, arrays: Mapping[Any, Array], salt: int) -> None:
        self._rounding, self._arrays, self._salt = rounding, arrays, salt
        self._numbers = {key: number for number, key in enumerate(arrays)}

    def __getitem__(self, key: Any) -> Array:
        rng = np.random.default_rng([self._rounding.seed, self._salt, self._numbers[key]])
        return self._rounding._moved(rng, self._arrays[key])

    def __contains__(self, key: object) -> bool:
        return key in self._arrays

    def __iter__(self) -> Iterator[Any]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@runtime_checkable
class Port(Protocol):
    """A model of one framework, as it is compared with one of another."""

    framework: str
    title: str  # the framework's name as its makers write it
    versions: dict[str, str]  # of the libraries that it uses
    has_loss: bool
    has_optimizer: bool

    def prepare(self, inputs: Mapping[str, Any]) -> None:
        """Set the model up for batches of such shapes. Where these decide its tensors, they are drawn anew."""
        ...

    def lift(self) -> None:
        """Compute in float64, from now on, what the model computes in narrower numbers."""
        ...

    def anatomy(self, inputs: Mapping[str, Any], mode: Mode) -> Anatomy:
        """Return how the model is built, from one run of it."""
        ...

    def options(self, inputs: Mapping[str, Any], mode: Mode) -> Sequence[Option]:
        """Return what the model might do otherwise, from one run of it; none if it cannot be changed."""
        ...

    def state(self) -> Mapping[str, Array]:
        """Return every parameter and statistic, by path."""
        ...

    def load(self, state: Mapping[str, Array]) -> None:
        """Set parameters and statistics; those not given stay."""
        ...

    def play(
        self,
        inputs: Mapping[str, Any],
        mode: Mode,
        forced: Forced | None = None,
        rounding: Rounding | None = None,
        dtype: str = "float64",
        is_backward: bool = True,
        change: Change | None = None,
    ) -> Played:
        """Run one batch forward and, where there is a loss, backward. The state stays as it is.

        Args:
            inputs: the batch, by name.
            mode: how the model is run; dropout drops nothing in any mode.
            forced: what replaces the model's own values; None for nothing.
            rounding: that is simulated; None for none.
            dtype: of parameters, statistics and floating-point inputs.
            is_backward: whether cotangents and gradients are wanted; else they may be left out.
            change: of a convention, one of the model's options; None for none.
        """
        ...

    def optimizer_islands(self) -> Sequence[Island]:
        """Return what the optimizer computes in narrower numbers."""
        ...

    def optimizer_options(self) -> Sequence[Option]:
        """Return what the optimizer might do otherwise; none if it cannot be changed."""
        ...

    def optimize(
        self,
        gradients: Sequence[Mapping[str, Array]],
        rounding: Rounding | None = None,
        change: Change | None = None,
    ) -> list[dict[str, Array]]:
        """Take the optimizer's steps from the model's parameters; return these after each. The model stays as it is.

        Args:
            gradients: of each step, by the parameter's path.
            rounding: that is simulated; None for none.
            change: of a convention, one of the optimizer's options; None for none.
        """
        ...


class Task(StrEnum):
    """What of a model is timed."""

    FORWARD = "forward"  # in evaluation mode, without gradients
    BACKWARD = "forward and backward"  # in training mode
    STEP = "training step"  # the same, and the optimizer's step


class Work(Protocol):
    """A task that a model is ready to do, as its users would do it, but that dropout as a module drops nothing."""

    @property
    def is_on_cpu(self) -> bool:
        """Whether it is done there."""
        ...

    def run(self, count: int) -> None:
        """Do it some times, and wait for the last."""
        ...

    def size(self) -> float:
        """Return what the last one gave as one number: the loss; without one, the root of the sum of all squares."""
        ...


@runtime_checkable
class Workable(Port, Protocol):
    """A port whose model can be timed.

    Attributes:
        ways: in which it can be run, "eager" and "compiled" say.
    """

    ways: tuple[str, ...]

    def own_process(self) -> None:
        """Set up a process of its own, in which nothing is used that was compiled before."""
        ...

    def work(self, inputs: Mapping[str, Any], task: Task, way: str, dtype: str, precision: Precision) -> Work:
        """Make ready for a task on a batch; the model stays as it is.

        Args:
            inputs: the batch, by name.
            task: what is done.
            way: one of `ways`.
            dtype: of parameters, statistics and floating-point inputs.
            precision: of float32 matrix products.

        Raises:
            InputError: it cannot be done so.
        """
        ...

    def forget(self) -> None:
        """Drop what the compiler keeps of what was timed."""
        ...


def size_of(arrays: Iterable[Array]) -> float:
    """Return the root of the sum of the squares of all floating-point numbers in some arrays."""
    floats = (np.asarray(each, np.float64) for each in arrays if np.asarray(each).dtype.kind == "f")
    return float(np.sqrt(sum(float(np.square(each).sum()) for each in floats)))


def check_state(state: Mapping[str, Any], forms: Mapping[str, Tensor]) -> None:
    """Check that parameters and statistics are those of a model.

    Raises:
        InputError: the model has none of a name, or of another shape.
    """
    for name, array in state.items():
        if name not in forms:
            raise InputError(f"the model has no {name!r}; it has {', '.join(forms)}")
        if np.shape(array) != forms[name].shape:
            raise InputError(f"{name!r} has shape {np.shape(array)}, and that of the model {forms[name].shape}")
