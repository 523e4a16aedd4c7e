"""What a framework must offer, and how one is found.

NumPy goes in and NumPy comes out, and everything is copied both ways: an array that a backend was given or has
returned is never written to, nor read, afterwards.
"""

import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from parity.data.dropout import Masks, check_masks
from parity.errors import InputError
from parity.spec import DType, ModelSpec, check_count
from parity.weights import Array, Weights

GROUP = "parity.backends"
DISTRIBUTION = "bnparity"


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one SGD update showed, in train mode and before the update.

    Args:
        loss: mean cross entropy of the batch, in nats.
        logits: shape (batch, output_dim).
        gradients: of the loss, by neutral name, for every tensor that is no running statistic.
        activations: what each part of each hidden layer gave, shape (batch, hidden_width), by the names of
            `parity.weights.activation_names`. None if the backend does not show them.
    """

    loss: float
    logits: Array
    gradients: Weights
    activations: Weights | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a backend trains on, as it presents it: before any step, two that agree present the same.

    Args:
        train_inputs: standardized, shape (n, input_dim).
        train_labels: shape (n,).
        test_inputs: standardized by the training set's statistics, shape (m, input_dim).
        test_labels: shape (m,).
        batches: the index stream's first pass, shape (updates, batch).
        weights: the initial state, by neutral name.
    """

    train_inputs: Array
    train_labels: NDArray[np.integer]
    test_inputs: Array
    test_labels: NDArray[np.integer]
    batches: NDArray[np.integer]
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class PassRecord:
    """What one pass of a population showed.

    Args:
        losses: training loss of each update, before it; shape (updates, members), in nats.
        finite: whether every weight and statistic was finite after the update; shape (updates, members).
    """

    losses: NDArray[np.floating]
    finite: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluation-mode results of a population.

    Args:
        loss: mean cross entropy, shape (members,), in nats.
        accuracy: share classified correctly, shape (members,).
    """

    loss: NDArray[np.floating]
    accuracy: NDArray[np.floating]


class Learner(Protocol):
    """One network and its state, stepped from outside.

    It may also have `activations(inputs) -> Weights`: what each part of each hidden layer gives in evaluation mode,
    by the names of `parity.weights.activation_names`; the state stays as it is. If the network has dropout,
    `train_step` is given its `masks` too (`parity.data.draw_masks`); a port without dropout need not take them.
    """

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Step:
        """Take one SGD update in train mode: `inputs` of shape (batch, input_dim), `labels` of shape (batch,)."""
        ...

    def evaluate(self, inputs: Array) -> Array:
        """Logits in evaluation mode, shape (batch, output_dim). The state stays as it is."""
        ...

    def weights(self) -> Weights:
        """The state: every weight and running statistic, by neutral name."""
        ...


class Population(Protocol):
    """Copies of one network, each trained at its own learning rate on the same minibatches.

    The data is uploaded once; a pass is one program on the device. Of a backend that has `lanes`, the members may fall
    into that many equal runs, in order, each with minibatches of its own. If the network has dropout, `run_pass` is
    given the `masks` of all updates too; members that share minibatches share their masks.
    """

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the minibatches `indices` of the training set.

        Their shape is (updates, batch); or (lanes, updates, batch).
        """
        ...

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Loss and accuracy of every member in evaluation mode. The state stays as it is."""
        ...

    def weights(self, member: int) -> Weights:
        """The state of one member, by neutral name."""
        ...


@runtime_checkable
class Backend(Protocol):
    """One framework's implementation of the experiment.

    Where weights are float32 (bfloat16 among the working dtypes), arrays that come out are float32.

    It may also have `inputs(dataset, spec, training) -> Inputs`, what it trains on, and `with_fault(name, **values)
    -> Backend`, itself with one of its parts replaced by a faulty one (`parity.faults`).

    If it has `lanes: int`, how many lanes of a population it trains side by side in about the time of one, then its
    `population` also takes any number of `lanes`, and as `weights` a sequence of states, one for each member.
    `accelerator: str` names the GPU or TPU on which it computes, where a lane's last digits depend on what is trained
    beside it; it is "" on a CPU.
    `pad_lanes(lanes, most) -> int` is how many lanes a population of `lanes` had better have, where others like it have
    `most` at the most: another number may be another program to compile. `own_process()` sets up a process that is the
    program's own, before the framework starts in it. `modes() -> Modes` is what a benchmark times. `free_bytes() -> int
    | None` is the memory that is free where it computes. `lower_ahead(spec, members, lanes, samples, dtype, batch_size,
    evaluated)` gives what a population of that many members will run on `samples` training samples, as functions that
    compile it, one program each; `evaluated` are the numbers of samples that `evaluate` will be asked for. It is called
    from other threads than the population. `tools() -> Tools` is what the lab asks of it.
    """

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def dtypes(self) -> Sequence[DType]:
        """The working dtypes that it offers, its usual one first."""
        ...

    def versions(self) -> dict[str, str]:
        """Version by package, for the record."""
        ...

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """A network at the given weights, computing in `dtype`."""
        ...

    def population(
        self,
        spec: ModelSpec,
        weights: Mapping[str, Array],
        learning_rates: Sequence[float],
        inputs: Array,
        labels: NDArray[np.integer],
        dtype: DType,
    ) -> Population:
        """A member for each learning rate, all at the given weights, with the training set on the device."""
        ...

    def to_native(
        self, weights: Mapping[str, Array], spec: ModelSpec, dtype: DType, names: Mapping[str, Any] | None = None
    ) -> Any:
        """The framework's own form of the weights (Flax variables, a Torch `state_dict`).

        `names` is the table from neutral names to the framework's; None for that of its `MultiLayerPerceptron`.
        """
        ...

    def from_native(self, native: Any, spec: ModelSpec, names: Mapping[str, Any] | None = None) -> Weights:
        """The neutral form of the framework's own; `names` is the table that `to_native` takes."""
        ...


def member_states(
    weights: Mapping[str, Array] | Sequence[Mapping[str, Array]], learning_rates: Sequence[float], lanes: int
) -> list[Mapping[str, Array]]:
    """Where each member of a population starts.

    Raises:
        InputError: there is not a state for each learning rate, or the lanes are not equal.
    """
    members = len(learning_rates)
    check_count("members", members, 1, "a population needs one")
    check_count("lanes", lanes, 1, "members train in one at least")
    if members % lanes:
        raise InputError(f"lanes must have the same number of members, got {members} members in {lanes} lanes")
    states = [weights] * members if isinstance(weights, Mapping) else list(weights)
    if len(states) != members:
        raise InputError(f"a population needs one state or one for each member, got {len(states)} for {members}")
    return states


def lane_batches(indices: NDArray[np.integer], lanes: int) -> NDArray[np.integer]:
    """The minibatches of each lane, shape (lanes, updates, batch).

    Raises:
        InputError: `indices` are neither of that shape nor, for all lanes, of shape (updates, batch).
    """
    indices = np.asarray(indices)
    if indices.ndim == 2:
        indices = np.broadcast_to(indices, (lanes, *indices.shape))
    if indices.ndim != 3 or len(indices) != lanes:
        raise InputError(f"indices must have shape (updates, batch) or ({lanes}, updates, batch), got {indices.shape}")
    return indices


def lane_masks(masks: Masks | None, spec: ModelSpec, batches: NDArray[np.integer]) -> Masks | None:
    """The masks of each lane's minibatches, shape (lanes, updates, layers, batch, width); None without dropout.

    Args:
        masks: of that shape or, for all lanes, without the first axis.
        spec: the network.
        batches: indices as `lane_batches` gives them.

    Raises:
        InputError: the network has dropout, and these are not its masks.
    """
    if not spec.dropout_rate:
        return None
    if masks is not None and np.ndim(masks) == 4:
        masks = np.broadcast_to(np.asarray(masks), (len(batches), *np.shape(masks)))
    check_masks(spec, masks, batches.shape)
    return masks


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the declared backends by name. Our own come last, so that no other package's entry takes their place."""
    entries = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: (_is_ours(entry), entry))
    return {entry.name: entry for entry in sorted({e.name: e for e in entries}.values())}


def _is_ours(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == DISTRIBUTION


def backend_names() -> tuple[str, ...]:
    """Every backend that is declared, from entry-point metadata: nothing is imported."""
    return tuple(_entry_points())


def sibling_names() -> tuple[str, ...]:
    """The frameworks that this distribution implements, without the NumPy reference: what `both` stands for."""
    return tuple(
        name
        for name, entry in _entry_points().items()
        if entry.dist is not None and entry.dist.name == DISTRIBUTION and not _is_reference(entry)
    )


def _is_reference(entry: importlib.metadata.EntryPoint) -> bool:
    return entry.module.partition(".")[0] == __name__.partition(".")[0]


def load_backend(name: str, **options: Any) -> Backend:
    """Load a backend by name.

    Args:
        name: of its entry point.
        options: what its constructor takes; the siblings take `device` and `precision`.

    Raises:
        InputError: no such backend is declared, its framework is not installed (the message says which extra to
            install), or an option does not suit it.

    >>> load_backend("numpy").name
    'numpy'
    """
    entries = _entry_points()
    if name not in entries:
        raise InputError(f"no framework is named {name!r}; choose one of {', '.join(entries)}")
    entry = entries[name]
    try:
        make = entry.load()
        for option, value in options.items():
            _check_taken(make, name, option, value)
        return make(**options)
    except InputError:
        raise
    except ModuleNotFoundError as error:
        missing = (error.name or "a module").partition(".")[0]
        raise InputError(
            f"the backend {name!r} needs {missing}, which is not installed; {_remedy(entry, missing)}"
        ) from error
    except Exception as error:  # whatever an import or a constructor raises: a library that is missing, a bad entry
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"the backend {name!r} cannot be loaded: {reason}; mend its installation or choose another --framework"
        ) from error


def _check_taken(make: Any, name: str, option: str, value: Any) -> None:
    try:
        inspect.signature(make).bind_partial(**{option: value})
    except TypeError:
        raise InputError(f"the backend {name!r} takes no {option}; leave it out") from None


def _remedy(entry: importlib.metadata.EntryPoint, missing: str) -> str:
    dist = entry.dist
    if dist is not None and entry.name in (dist.metadata.get_all("Provides-Extra") or ()):
        return f"install it with: pip install '{dist.name}[{entry.name}]'"
    return f"install {missing}"


def own_process(name: str) -> None:
    """Set this process up for a backend: for a program's own process, before any framework starts in it.

    Raises:
        InputError: as `load_backend`.
    """
    set_up = getattr(load_backend(name), "own_process", None)
    if set_up is not None:
        set_up()


def installed_siblings() -> tuple[str, ...]:
    """The siblings whose framework is installed.

    Raises:
        InputError: none is.
    """
    installed, problems = [], []
    for name in sibling_names():
        try:
            load_backend(name)
        except InputError as error:
            problems.append(str(error))
        else:
            installed.append(name)
    if not installed:
        raise InputError("no framework is installed: " + "; ".join(problems))
    return tuple(installed)


def convert_weights(
    native: Any,
    spec: ModelSpec,
    *,
    source: str,
    target: str,
    source_names: Mapping[str, Any] | None = None,
    target_names: Mapping[str, Any] | None = None,
    dtype: DType | None = None,
) -> Any:
    """Convert weights from one framework's own form to another's.

    Args:
        native: Flax variables, or a Torch `state_dict`.
        spec: the network.
        source: the backend whose form `native` has.
        target: the backend whose form is wanted.
        source_names: the table from neutral names to those in `native`; None for those of the backend's own
            `MultiLayerPerceptron`. `parity.registration_order_names` makes one for any Torch module that registers its
            layers in order, the lab's among them.
        target_names: the same for the result.
        dtype: of the result; None for that of `native`.

    Raises:
        InputError: names or shapes do not fit the spec; the message lists them all.

    Example::

        variables = parity.convert_weights(model.state_dict(), spec, source="torch", target="jax")
    """
    if not isinstance(native, Mapping):
        raise InputError(f"weights must be Flax variables or a state_dict, got {type(native).__name__}")
    weights = load_backend(source).from_native(native, spec, source_names)
    if dtype is None:
        dtype = "float64" if weights["head.bias"].dtype == np.float64 else "float32"
    return load_backend(target).to_native(weights, spec, dtype, target_names)
