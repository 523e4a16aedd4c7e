"""One framework's implementation of the experiment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from parity.backend.compiler import Chips, Compiler
from parity.backend.learner import Learner, as_learner
from parity.backend.modes import Modes
from parity.backend.population import Population
from parity.backend.tools import Tools
from parity.data import Dataset
from parity.errors import InputError
from parity.spec import DType, ModelSpec, TrainSpec
from parity.weights import Array, Weights


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The data, batches and initial weights that a backend trains on. Two backends that agree present the same.

    Args:
        train_inputs: standardized, shape (n, input_dim).
        train_labels: shape (n,).
        test_inputs: standardized by the training set's statistics, shape (m, input_dim).
        test_labels: shape (m,).
        batches: the first pass of the index stream, shape (updates, batch).
        weights: the initial state, by neutral name.
    """

    train_inputs: Array
    train_labels: NDArray[np.integer]
    test_inputs: Array
    test_labels: NDArray[np.integer]
    batches: NDArray[np.integer]
    weights: Weights


class Backend:
    """One framework's implementation of the experiment: the base class of every backend.

    A subclass must have `learner`. Each other member has a default, which says that the framework does not offer it.
    Where weights are float32 (with the working dtype bfloat16 too), the arrays that come out are float32.

    Attributes:
        name: what the backend is called.
        title: the framework's name as its makers write it; it stands beside `name`, in the same class.
        dtypes: the working dtypes that it offers, its usual one first.
        lanes: how many lanes of a population it trains side by side in about the time of one. None: `population` takes
            neither `lanes` nor a state for each member.
        accelerator: the name of the GPU or TPU that it computes on, where a lane's last digits depend on the lanes
            trained beside it; "" on a CPU.
    """

    name: str = ""
    title: str = ""
    dtypes: Sequence[DType] = ("float64", "float32")
    lanes: int | None = None
    accelerator: str = ""

    @property
    def shown_name(self) -> str:
        """The name for people: the title, unless a subclass has a name of its own and no title."""
        named = next((each for each in type(self).__mro__ if "name" in vars(each)), Backend)
        return vars(named).get("title", "") or self.name

    def versions(self) -> dict[str, str]:
        """Return the version of each package that decides the numbers."""
        return {}

    # What every backend must have.

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """Return a network at the given weights that computes in `dtype`."""
        raise InputError(f"the backend {self.name!r} has no learner; give it the method learner(spec, weights, dtype)")

    # What takes part in `check`.

    def inputs(self, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Inputs | None:
        """Return what the backend trains on; None if it leaves that to the caller."""
        return None

    def with_fault(self, name: str, **values: float) -> "Backend":
        """Return this backend with one part replaced by the faulty one of that name (`parity.faults`).

        Args:
            name: of the fault.
            values: its parameters, where they differ from its own.

        Raises:
            InputError: the backend has no such fault.
        """
        raise InputError(f"{self.name} is not assembled from replaceable parts, so it takes no fault")

    def variants(self) -> Mapping[str, Callable[[Any], "Backend"]]:
        """Return, by name, functions that make honest variants of this backend."""
        return {}

    # What `sweep` trains.

    @property
    def has_population(self) -> bool:
        """Whether the backend offers `population`."""
        return type(self).population is not Backend.population

    def population(
        self,
        spec: ModelSpec,
        weights: Any,
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> Population:
        """Return a population with a member for each learning rate, with the training set on the device.

        Args:
            spec: the network.
            weights: the state in which all members start; a backend with `lanes` also takes one for each member.
            learning_rates: one for each member.
            inputs: the training set, shape (n, input_dim).
            labels: shape (n,).
            dtype: working dtype.

        A backend with `lanes` also takes `lanes`, the number of equal runs of members with minibatches of their own.
        """
        raise InputError(f"the backend {self.name!r} trains one network at a time; choose one that has a population")

    def pad_lanes(self, lanes: int, most: int) -> int:
        """Round `lanes` up to a number that is already compiled, where populations have `most` lanes or fewer."""
        return lanes

    def lower_ahead(
        self,
        spec: ModelSpec,
        members: int,
        lanes: int,
        samples: int,
        dtype: DType,
        batch_size: int,
        evaluated: Sequence[int],
    ) -> Sequence[Callable[[], Any]]:
        """Return functions that each compile one program of a population. They may run in other threads.

        Args:
            spec: the network.
            members: the number of members.
            lanes: the number of lanes.
            samples: the size of the training set.
            dtype: working dtype.
            batch_size: samples in a minibatch.
            evaluated: the numbers of samples that `evaluate` will get.
        """
        return ()

    def free_bytes(self) -> int | None:
        """Return the free memory of the device; None for the host's memory."""
        return None

    def own_process(self, cache: str = "") -> None:
        """Set up a process that belongs to the program, before the framework starts in it.

        Args:
            cache: a folder for what is compiled; "" for the user's own.
        """

    # What `compare --self-test` compares.

    def specimen(self, kind: str, fault: str = "", seed: int = 0) -> Any:
        """Return a port of the model of a kind, one of a pair by which `compare` is tested.

        Args:
            kind: of model.
            fault: that is planted in the pair's candidate; "" for none.
            seed: of the weights, where the model draws them.
        """
        raise InputError(f"{self.name} has no models to test a comparison with")

    # What `bench` times and `lab` shows.

    def modes(self) -> Modes | None:
        """Return the modes of training to time; None for no benchmark."""
        return None

    def compiler(self, chips: Chips) -> Compiler:
        """Return what compiles this project's networks for chips that this machine need not have.

        Raises:
            InputError: there is no such compiler here.
        """
        raise InputError(f"{self.name} has no compiler for chips that are not here; choose another --framework")

    def tools(self) -> Tools:
        """Return layers alone and derivatives of a loss, for the lab."""
        raise InputError(f"the backend {self.name!r} has no tools for the lab; choose another --framework")

    # What `convert_weights` calls.

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the framework's own form of the weights (Flax variables, a Torch `state_dict`).

        Args:
            weights: by neutral name.
            spec: the network.
            dtype: working dtype.
            names: the framework's name of each tensor, by neutral name; None for the names of its
                `MultiLayerPerceptron`.
        """
        raise InputError(f"the backend {self.name!r} converts no weights; choose another")

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """Return the neutral form of the framework's own; `names` as for `to_native`."""
        raise InputError(f"the backend {self.name!r} converts no weights; choose another")


class MakesLearners(Protocol):
    """The least that takes part in a check: any object with `learner`, see `Backend.learner`."""

    def learner(self, spec: ModelSpec, weights: Weights, dtype: DType) -> Any:
        """Return a network at the given weights that computes in `dtype`."""
        ...


def as_backend(target: Any, called: str = "") -> Backend:
    """Return `target` as a `Backend`: itself, or any other object with the defaults for what it lacks.

    Args:
        target: a `Backend`, or an object that has at least `learner(spec, weights, dtype)`.
        called: its name in the message.

    Raises:
        InputError: it has no `learner`, or it is a class.
    """
    if isinstance(target, Backend | BackendAdapter):
        return cast(Backend, target)
    if isinstance(target, type) or not callable(getattr(target, "learner", None)):
        kind, name = ("the class", target) if isinstance(target, type) else ("an object of type", type(target))
        raise InputError(
            f"{called or 'this'} is no backend but {kind} {name.__name__}; "
            "it must be an object with the method learner(spec, weights, dtype), see parity.backend.Backend"
        )
    return cast(Backend, BackendAdapter(target))


class BackendAdapter:
    """A backend that forwards to `target`, with the defaults of `Backend` for what `target` lacks.

    Subclass it to change single members of another backend.
    """

    def __init__(self, target: Any) -> None:
        self._target, self._defaults = target, Backend()
        self._defaults.name = type(target).__name__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # `copy` asks before there is a target
            raise AttributeError(name)
        return getattr(self._target if hasattr(self._target, name) else self._defaults, name)

    @property
    def has_population(self) -> bool:
        """Whether the target offers `population`."""
        is_whole = isinstance(self._target, Backend | BackendAdapter)
        return self._target.has_population if is_whole else hasattr(self._target, "population")

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """Return the target's learner, with the defaults of `Learner` for what it lacks."""
        return as_learner(self._target.learner(spec, weights, dtype))
