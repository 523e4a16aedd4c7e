"""An NNX module as a function; see `bnjax.functional`."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from bnjax.crossings import Names, named_calls
from bnjax.functional import CallModel, Ran, Tree, call_model
from parity.backend.port import Mode

PATH = "_bnparity_path"  # an attribute of a copy of a module: it survives where the module is taken apart, as in a scan


class Nnx:
    """An NNX module. What is run is a copy of it."""

    opaque = (nnx.Module,)

    def __init__(self, model: nnx.Module, call: CallModel | None) -> None:
        self._call = call
        self._graph, *states, self._rest = _split(model)
        self._paths = [{_joined(path): path for path, _ in nnx.to_flat_state(state)} for state in states]
        self.parameters, self.statistics = map(_flat, states)
        self.modules = {_joined(path): type(module).__name__ for path, module in nnx.iter_modules(model)}
        self.once_loaded: Tree = {}

    def initial(self) -> Tree:
        """See `Functional`."""
        return {}

    def nested(self, parameters: Tree) -> Any:
        """See `Functional`."""
        return self._state(0, parameters)

    def _state(self, kind: int, tree: Tree) -> Any:
        return nnx.from_flat_state({self._paths[kind][name]: leaf for name, leaf in tree.items()})

    def run(
        self, parameters: Tree, statistics: Tree, inputs: Mapping[str, Any], mode: Mode, names: Names | None
    ) -> Ran:
        """Run a batch."""
        states = (self._state(kind, tree) for kind, tree in enumerate((parameters, statistics)))
        # A copy, since its random streams would be the user's own.
        model: Any = nnx.merge(self._graph, *states, self._rest, copy=True)
        (model.train if mode is Mode.TRAIN else model.eval)()
        modules = list(nnx.iter_modules(model))
        for path, module in modules:
            setattr(module, PATH, _joined(path))
        classes = dict.fromkeys(type(module) for _, module in modules)
        with named_calls(classes, lambda module: getattr(module, PATH, None), nnx.Dropout, names):
            outputs, left = call_model(model, model.__call__, self._call, inputs, mode)
        return Ran(outputs, left, _flat(_split(model)[2]))


def _split(model: nnx.Module) -> tuple[Any, ...]:
    """The graph of a module, its parameters, its statistics and the rest."""
    return nnx.split(model, nnx.Param, _is_statistic, ...)


def _is_statistic(path: Any, value: Any) -> bool:
    return isinstance(value, nnx.Variable) and not isinstance(value, nnx.Param | nnx.RngState)


def _flat(state: Any) -> Tree:
    return {_joined(path): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}


def _joined(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))
