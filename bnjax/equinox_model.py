"""An Equinox module as a function; see `bnjax.functional`."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import equinox as eqx  # it is there, since the module is one of its own
import jax
import jax.numpy as jnp

from bnjax.crossings import Names, named_calls
from bnjax.functional import CallModel, Ran, Tree, call_model, dotted
from parity.backend.batch import arguments
from parity.backend.port import Mode

MANY = 2**20  # batches


class Equinox:
    """An Equinox module, and its `State` if it has one. By default it is mapped over the batch.

    A `call` is given the module, or both as a pair, and then returns both the output and the new state.
    """

    opaque = (eqx.Module, eqx.nn.State)

    def __init__(self, model: Any, state: Any, call: CallModel | None) -> None:
        self._call, self._state = call, jax.tree.map(_wide, state)
        arrays, self._static = eqx.partition(model, eqx.is_inexact_array)
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(arrays)
        self.parameters = {dotted(path): leaf for path, leaf in leaves}
        self._indices = dict(_state_indices(model)) if state is not None else {}
        self.statistics = self._read(self._state)
        self.modules = {path: type(module).__name__ for path, module in _modules(model)}
        # Statistics that are loaded are those of many batches: without that, mode "ema" takes the first batch's as they
        # are, and mode "batch" corrects for a start at 0.
        after = {"ema_first_time_index": False, "batch_counter": MANY}
        self.once_loaded = {path: after[leaf] for path in self.statistics if (leaf := path.rpartition(".")[2]) in after}

    def _read(self, state: Any) -> Tree:
        return {
            dotted((path, *at)): leaf
            for path, index in self._indices.items()
            for at, leaf in jax.tree_util.tree_leaves_with_path(state.get(index))
        }

    def _write(self, statistics: Tree) -> Any:
        floats = [leaf.dtype for leaf in statistics.values() if eqx.is_inexact_array(leaf)]

        def alike(leaf: Any) -> Any:  # a copy, since Equinox lets a state be used once
            return jnp.array(leaf, floats[0] if eqx.is_inexact_array(leaf) else leaf.dtype)

        state = jax.tree.map(alike, self._state)
        for path, index in self._indices.items():
            leaves, structure = jax.tree_util.tree_flatten_with_path(state.get(index))
            state = state.set(index, structure.unflatten([statistics[dotted((path, *at))] for at, _ in leaves]))
        return state

    def initial(self) -> Tree:
        """See `Functional`."""
        return {}

    def nested(self, parameters: Tree) -> Any:
        """See `Functional`."""
        return jax.tree.unflatten(self._structure, [parameters[path] for path in self.parameters])

    def run(
        self, parameters: Tree, statistics: Tree, inputs: Mapping[str, Any], mode: Mode, names: Names | None
    ) -> Ran:
        """Run a batch."""
        model = eqx.combine(self.nested(parameters), self._static)
        model = eqx.nn.inference_mode(model, value=mode is not Mode.TRAIN)
        state = None if self._state is None else self._write(statistics)
        modules = list(_modules(model))
        paths = {id(module): path for path, module in modules}
        classes = dict.fromkeys(type(module) for _, module in modules)
        with named_calls(classes, lambda module: paths.get(id(module)), eqx.nn.Dropout, names):
            if self._call is None:
                outputs, left = _map_over_batch(model, state, inputs, mode)
            else:
                whole = model if state is None else (model, state)
                outputs, left = call_model(whole, model.__call__, self._call, inputs, mode)
        if state is None:
            return Ran(outputs, left, {})
        outputs, state = outputs
        return Ran(outputs, left, self._read(state))


def _wide(leaf: Any) -> Any:
    """A copy in float64 if it holds floats; of a dtype that is not weak, which an operation would change."""
    return jnp.array(leaf, float if eqx.is_inexact_array(leaf) else leaf.dtype)


def _map_over_batch(model: Any, state: Any, inputs: Mapping[str, Any], mode: Mode) -> tuple[Any, list[Any]]:
    """Call a model of single samples on a batch; its state belongs to all of them."""
    given, left = arguments(model.__call__, inputs if state is None else {**inputs, "state": state}, mode)
    axes = {name: None if name in ("state", "inference") else 0 for name in given}
    mapped = jax.vmap(lambda own: model(**own), (axes,), 0 if state is None else (0, None), axis_name="batch")
    return mapped(given), left


def _modules(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every module within a module, with its path."""
    if isinstance(value, eqx.Module) and not isinstance(value, eqx.nn.StateIndex):
        yield dotted(path), value
        inside = ((field.name, getattr(value, field.name, None)) for field in fields(value))
    elif isinstance(value, list | tuple):
        inside = enumerate(value)
    elif isinstance(value, dict):
        inside = value.items()
    else:
        return
    for name, each in inside:
        yield from _modules(each, (*path, name))


def _state_indices(model: Any) -> Iterator[tuple[str, Any]]:
    for path, module in _modules(model):
        for field in fields(module):
            if isinstance(index := getattr(module, field.name, None), eqx.nn.StateIndex):
                yield f"{path}.{field.name}".lstrip("."), index
