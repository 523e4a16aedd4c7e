"""What a port is to the check, and the list of the faulty ones.

Importing a module of faults fills the list. Each fault is also a factory of its module, so that a check can be given it
by name: `ports.torch_update_faults:nesterov`, or `...:nesterov_float32` for a port that offers float32 only.
"""

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Protocol

from parity import ModelSpec, Step
from parity.weights import Array, Weights

BOTH, FLOAT32 = ("float32", "float64"), ("float32",)
FAULT_MODULES = (
    "torch_forward_faults",
    "torch_update_faults",
    "torch_evaluation_faults",
    "handwritten_faults",
    "flax_faults",
    "jax_model_faults",
    "jax_training_faults",
)

# The part of a check in which a fault first shows.
FIRST = "first"  # the first update from the initial weights
LATER = "later"  # a later update: what goes wrong lies between two
PROBE = "probe"  # a state or a batch that natural training does not meet


class Port(Protocol):
    """A learner's class: `parity.backend.Learner`, with the name of the port that it belongs to."""

    port: ClassVar[str]

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> None: ...

    def train_step(self, inputs: Array, labels: Any, learning_rate: float) -> Step: ...

    def evaluate(self, inputs: Array) -> Array: ...

    def weights(self) -> Weights: ...


@dataclass(frozen=True)
class Candidate:
    """What `--candidate` is given: a learner's class, and the working dtypes that it offers."""

    name: str
    make: type[Port]
    dtypes: tuple[str, ...] = BOTH

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> Port:
        """A network at the given weights."""
        return self.make(spec, weights, dtype)


def refuse_extras(spec: ModelSpec) -> None:
    """Raise `NotImplementedError` for what no port of this collection has."""
    if spec.residual or spec.dropout_rate:
        raise NotImplementedError("this port has neither residual blocks nor dropout")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One faulty port.

    Args:
        name: as a factory of its module.
        module: where it stands.
        port: the honest port that it is made of.
        learner: the learner's class.
        kind: the part of the issue that asks for it: "never played", "wrong names", "more names"; "new" is in no list.
        wrong: what is wrong.
        names: every name that would be right; `unexplained` always is. No name at all: only `unexplained` is.
        must_name: whether `unexplained` alone is not enough: the fault is in the catalogue, beside one that is not.
        when: FIRST, LATER, PROBE: where it may show first.
        where: patterns of "LAYER TENSOR", such as "0 norm output" or "* updated *"; none if it belongs to no tensor.
        float32_only: whether there is also a port of it that offers float32 only.
        float64: whether there is one that offers both.
        needs_norm: whether it shows only with batch norm.
        min_depth: the fewest hidden layers that can have it.
    """

    name: str
    module: str
    port: str
    learner: type[Port]
    kind: str
    wrong: str
    names: tuple[str, ...]
    must_name: bool
    when: tuple[str, ...]
    where: tuple[str, ...]
    float32_only: bool
    float64: bool
    needs_norm: bool
    min_depth: int

    def is_right_place(self, step: int | str, layer: int | str | None, tensor: str) -> bool:
        """Whether a first divergence there is where the fault is."""
        natural = isinstance(step, int)
        when = FIRST if step == 0 else LATER if natural else PROBE
        # A later update of a carried window and one of a probe's are the same to a fault that lies between updates.
        fits = when in self.when or (when == PROBE and LATER in self.when)
        return fits and any(fnmatchcase(f"{layer} {tensor}", pattern) for pattern in self.where)


FAULTS: dict[str, Fault] = {}


def fault(
    kind: str,
    wrong: str,
    *,
    where: str | tuple[str, ...],
    when: tuple[str, ...] = (FIRST,),
    names: tuple[str, ...] = (),
    must_name: bool = False,
    float32_only: bool = False,
    float64: bool = True,
    needs_norm: bool = False,
    min_depth: int = 1,
) -> Callable[[type], type]:
    """Put a learner's class on the list; its name in snake case is the fault's. The arguments are those of `Fault`."""

    def register(learner: type) -> type:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", learner.__name__).lower()
        if name in FAULTS and FAULTS[name].learner.__module__ != learner.__module__:
            raise ValueError(f"two faults are named {name}")
        FAULTS[name] = Fault(
            name=name,
            module=learner.__module__,
            port=learner.port,
            learner=learner,
            kind=kind,
            wrong=wrong,
            names=names,
            must_name=must_name,
            when=when,
            where=(where,) if isinstance(where, str) else where,
            float32_only=float32_only,
            float64=float64,
            needs_norm=needs_norm,
            min_depth=min_depth,
        )
        return learner

    return register


def factory(name: str) -> Callable[[], Candidate]:
    """The factory of a fault: a module's `__getattr__`, so that `--candidate MODULE:NAME` finds it."""
    for ending, dtypes in (("_float32", FLOAT32), ("", BOTH)):
        found = FAULTS.get(name.removesuffix(ending))
        if found is not None and name.endswith(ending):
            return lambda: Candidate(name, found.learner, dtypes)
    raise AttributeError(name)


def load_faults() -> Iterator[Fault]:
    """Every fault, in the order of the modules and of the text."""
    package = __name__.rpartition(".")[0]
    for module in FAULT_MODULES:
        importlib.import_module(f"{package}.{module}")
    yield from FAULTS.values()


@dataclass(frozen=True, kw_only=True)
class Honest:
    """An honest port, and the conventions that it is honest for.

    Args:
        target: "module:factory" within this package.
        spec: fields of `ModelSpec`.
        offers: the working dtypes; of a port that lacks float64 a default check is `incomplete`.
    """

    target: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    offers: tuple[str, ...] = BOTH


HONEST = (
    Honest(target="stock_torch:make_backend"),
    Honest(target="stock_torch:make_silent"),
    Honest(target="stock_torch:make_backend", spec={"running_variance": "biased", "decay": 0.99}),
    Honest(target="handwritten_torch:make_backend"),
    Honest(target="handwritten_torch:make_backend", spec={"block_order": "norm_first"}),
    Honest(target="stock_flax:make_backend"),
    Honest(target="stock_flax:make_biased", spec={"running_variance": "biased"}),
    Honest(target="plain_jax:make_backend"),
    Honest(target="plain_jax:make_backend", spec={"eps": 1e-3, "block_order": "norm_first"}),
    Honest(target="stock_torch:make_float32", offers=FLOAT32),
    Honest(target="handwritten_torch:make_float32", offers=FLOAT32),
    Honest(target="stock_flax:make_float32", offers=FLOAT32),
    Honest(target="plain_jax:make_float32", offers=FLOAT32),
)
