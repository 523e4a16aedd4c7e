"""What a model of any JAX library is as a function of its parameters and statistics; and a plain function as one."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from bnjax.crossings import Names
from parity.backend.batch import Batch, called
from parity.backend.port import Mode

Tree = dict[str, Any]  # arrays by path
CallModel = Callable[[Any, Mapping[str, Any], bool], Any]


@dataclass(frozen=True)
class Ran:
    """What a model gave: its outputs, the inputs that it did not take, and its statistics afterwards."""

    outputs: Any
    left: list[Any]
    statistics: Tree


class Functional(Protocol):
    """A model as a function.

    Attributes:
        parameters: by path; arrays, or only their forms as long as none are given and none were needed.
        statistics: the same; what training changes without a gradient.
        modules: the name of the class of each module, by path; empty if only calls tell.
        opaque: types of arguments that are modules, or their states.
        once_loaded: what else changes in the statistics when some are loaded, which are then not the initial ones.
    """

    parameters: Tree
    statistics: Tree
    modules: dict[str, str]
    opaque: tuple[type, ...]
    once_loaded: Tree

    def initial(self) -> Tree:
        """Return what the library draws for parameters and statistics, by path."""
        ...

    def nested(self, parameters: Tree) -> Any:
        """Return parameters as the library has them, for an optimizer."""
        ...

    def run(
        self, parameters: Tree, statistics: Tree, inputs: Mapping[str, Any], mode: Mode, names: Names | None
    ) -> Ran:
        """Run a batch."""
        ...


def flattened(model: Functional, names: Iterable[str], tree: Any) -> Tree:
    """Return the leaves of the library's parameters by their names."""
    numbers = {name: number for number, name in enumerate(names)}
    found = dict(zip(jax.tree.leaves(model.nested(dict(numbers))), jax.tree.leaves(tree), strict=True))
    return {name: found[number] for name, number in numbers.items()}


def call_model(
    model: Any, signature: Callable[..., Any], call: CallModel | None, inputs: Mapping[str, Any], mode: Mode
) -> tuple[Any, list[Any]]:
    """Return what a model gives for a batch, and the inputs that it does not take.

    Args:
        model: to be called.
        signature: a function that has its signature.
        call: the user's own way to call it.
        inputs: by name.
        mode: how it is run.
    """
    if call is not None:
        batch = Batch(inputs)
        return call(model, batch, mode is Mode.TRAIN), batch.left()
    return called(model, signature, inputs, mode)


class Plain:
    """A function of its parameters and a batch."""

    opaque = ()

    def __init__(self, function: Callable[..., Any], parameters: Any, call: CallModel | None) -> None:
        self._function, self._call = function, call
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(parameters)
        self._given = {dotted(path): jnp.asarray(leaf) for path, leaf in leaves}
        # Whole numbers, a count of batches say, are not trained: they stay as they are given.
        self.parameters = {p: leaf for p, leaf in self._given.items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}
        self.statistics: Tree = {}
        self.modules: dict[str, str] = {}
        self.once_loaded: Tree = {}

    def initial(self) -> Tree:
        """See `Functional`."""
        return {}

    def nested(self, parameters: Tree) -> Any:
        """See `Functional`."""
        return jax.tree.unflatten(self._structure, [parameters.get(path) for path in self._given])

    def run(
        self, parameters: Tree, statistics: Tree, inputs: Mapping[str, Any], mode: Mode, names: Names | None
    ) -> Ran:
        """Run a batch."""
        model = _Applied(self._function, self.nested({**self._given, **parameters}))

        def named(*args: Any, **kwargs: Any) -> Any:
            return names.call("", self._function, model, args, kwargs) if names else model(*args, **kwargs)

        return Ran(*call_model(named, model, self._call, inputs, mode), {})


@dataclass(frozen=True)
class _Applied:
    """A function whose first argument is given."""

    function: Callable[..., Any]
    parameters: Any

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.parameters, *args, **kwargs)


def dotted(path: Any) -> str:
    """Return the keys of a path in a tree, with dots."""
    return ".".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
