"""A linen module as a function; see `bnjax.functional`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from flax.core import unfreeze
from flax.errors import InvalidRngError
from flax.traverse_util import flatten_dict, unflatten_dict

from bnjax.crossings import Names
from bnjax.functional import CallModel, Ran, Tree, call_model
from parity.backend.batch import map_arrays
from parity.backend.port import Mode
from parity.errors import InputError

DRAWS = (
    "it draws random numbers of its own in training, as the dropout within an attention does, which no other model can "
    "share; set its rate to 0"
)


class Linen:
    """A linen module and its variables; without them, as it initializes itself."""

    opaque = (linen.Module,)

    def __init__(self, model: linen.Module, variables: Any, call: CallModel | None, inputs: Mapping[str, Any]) -> None:
        self._model, self._call = model, call
        self._inputs = inputs
        self.parameters, self.statistics = self._forms() if variables is None else _split(variables)
        self.modules: dict[str, str] = {}
        self.once_loaded: Tree = {}

    def _forms(self) -> tuple[Tree, Tree]:
        """Forms of parameters and statistics, in the order in which the module makes them: to draw them takes long."""
        order: list[list[str]] = []

        def initialize() -> tuple[Tree, Tree]:
            trees = _split(self._initialize())
            order[:] = [list(tree) for tree in trees]
            return trees

        try:
            forms = jax.eval_shape(initialize)  # sorts by name
        except TypeError:  # a module may hold on to float32, what starts a scan say
            self._inputs = map_arrays(_narrowed, self._inputs)
            forms = jax.eval_shape(initialize)
        parameters, statistics = (
            {path: tree[path] for path in paths} for tree, paths in zip(forms, order, strict=True)
        )
        return parameters, statistics

    def _initialize(self) -> Any:
        keys = {name: jax.random.key(seed) for seed, name in enumerate(("params", "dropout"))}
        return self._model.init(keys, self._inputs, Mode.TRAIN, method=self._whole())

    def initial(self) -> Tree:
        """See `Functional`."""
        parameters, statistics = _split(self._initialize())
        return parameters | statistics

    def _whole(self) -> Callable[..., Any]:
        """A method of the module that takes a batch."""

        def whole(module: linen.Module, inputs: Mapping[str, Any], mode: Mode) -> Any:
            own: Any = module
            return call_model(own, own.__call__, self._call, inputs, mode)

        return whole

    def nested(self, parameters: Tree) -> Any:
        """See `Functional`."""
        return _nested(parameters)

    def run(
        self, parameters: Tree, statistics: Tree, inputs: Mapping[str, Any], mode: Mode, names: Names | None
    ) -> Ran:
        """Run a batch."""

        def intercept(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name != "__call__":
                return function(*args, **kwargs)
            if isinstance(context.module, linen.Dropout):
                return args[0]
            if names is None:
                return function(*args, **kwargs)
            return names.call(".".join(context.module.path), context.module, function, args, kwargs)

        collections: dict[str, Tree] = {}
        for path, leaf in statistics.items():
            name, _, rest = path.partition(":")
            collections.setdefault(name, {})[rest] = leaf
        variables = {"params": _nested(parameters), **{name: _nested(tree) for name, tree in collections.items()}}
        try:
            with linen.intercept_methods(intercept):
                (outputs, left), updated = self._model.apply(
                    variables, inputs, mode, method=self._whole(), mutable=list(collections)
                )
        except InvalidRngError as error:
            raise InputError(f"{DRAWS}: {error}") from error
        return Ran(outputs, left, {**statistics, **_flat_collections(updated)})


def _narrowed(leaf: Any) -> Any:
    return leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf


def _split(variables: Any) -> tuple[Tree, Tree]:
    """Parameters, and what else a module holds."""
    collections: dict[str, Any] = dict(unfreeze(variables))
    return _flat(collections.pop("params", {})), _flat_collections(collections)


def _flat(tree: Any) -> Tree:
    return {".".join(path): leaf for path, leaf in flatten_dict(tree).items()}


def _flat_collections(variables: Mapping[str, Any]) -> Tree:
    return {f"{name}:{path}": leaf for name, tree in variables.items() for path, leaf in _flat(tree).items()}


def _nested(flat: Tree) -> Any:
    return unflatten_dict({tuple(path.split(".")): leaf for path, leaf in flat.items()})
