"""A model traced on a batch, with the boundaries of its modules open."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from numpy.typing import NDArray

from bnjax.crossings import Cross, Crossing, Names, crossings, values
from bnjax.dataflow import sources
from bnjax.functional import Functional
from bnjax.interpret import evaluate
from bnjax.islands import is_narrow, islands
from bnjax.lifted import lifted
from bnjax.perturbed import perturbed
from bnjax.quick import quickly_compiled
from parity.backend.batch import loss_of, map_arrays, unused
from parity.backend.port import Boundary, Forced, Mode, ModuleCall, Played, Rounding
from parity.weights import Array


class Program:
    """A model traced on a batch of one shape in one mode, with its boundaries open."""

    def __init__(
        self, model: Functional, state: Any, inputs: Mapping[str, Any], mode: Mode, loss: Any, is_lifted: bool = False
    ) -> None:
        self._model, self._mode, self._loss = model, mode, loss
        names = Names(model.opaque)
        order = list(inputs)
        self.unused: tuple[str, ...] = ()

        def run(parameters: Any, statistics: Any, inputs: Any) -> tuple[Any, Any]:
            given = {name: inputs[name] for name in order}  # JAX sorts what it is given
            ran = model.run(parameters, statistics, given, mode, names)
            if loss is None:
                self.unused = unused(given, ran.left)
                return None, ran.statistics
            return loss_of(loss, ran.outputs, ran.left), ran.statistics

        def traced(*arguments: Any) -> Any:
            names.forget()
            jaxpr, shape = jax.make_jaxpr(run, return_shape=True)(*arguments)
            # Copies of constants, since JAX remembers NumPy's as they were traced for as long as that is in use.
            return ClosedJaxpr(jaxpr.jaxpr, [jnp.array(constant) for constant in jaxpr.consts]), shape

        self.runs_in_float64 = True
        try:
            self._jaxpr, self._shape = _with_fresh_caches(traced, *state, inputs)
        except TypeError:  # a model may hold on to float32: what starts a scan, say
            if is_narrow(next(iter(jax.tree.leaves(state)), None)):
                raise
            self._jaxpr, self._shape = traced(*map_arrays(_narrowed, (*state, inputs)))
            self.runs_in_float64 = False
        if is_lifted or not self.runs_in_float64:
            self._jaxpr = lifted(self._jaxpr)
        self.crossings = crossings(self._jaxpr, names)
        if not model.modules and len(names.calls) == 1:
            self.crossings = sorted([*self.crossings, *values(self._jaxpr)], key=lambda each: each.place)
        self.calls = _calls(self.crossings, names)
        self.islands = islands(self._jaxpr.jaxpr)
        self.sources = sources(self._jaxpr.jaxpr, self.crossings)
        self._programs: dict[int | None, Any] = {}
        self._cross = Cross(frozenset(each.place for each in self.crossings))

    def is_same(self, other: "Program") -> bool:
        """Whether another mode computes the same, as it does in a model without batch norm."""
        (one, ours), (two, theirs) = ((each._jaxpr.jaxpr, each._jaxpr.consts) for each in (self, other))
        return (
            self.crossings == other.crossings
            and len(ours) == len(theirs)
            and all(a is b or np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
            and str(one) == str(two)
        )

    def _run(self, parameters: Any, statistics: Any, inputs: Any, given: Any) -> Any:
        def computed(parameters: Any, probes: Any) -> Any:
            at = {place: {**each, "probe": probes.get(place, 0.0)} for place, each in given.items()}
            leaves = jax.tree.leaves((parameters, statistics, inputs))
            results, taken = evaluate(self._jaxpr, leaves, self._cross, at)
            loss, after = jax.tree.unflatten(jax.tree.structure(self._shape), results)
            return (0.0 if loss is None else loss), (after, taken)

        probes = {place: jnp.zeros_like(each["cotangent"]) for place, each in given.items() if "cotangent" in each}
        if self._loss is None:
            loss, (after, taken) = computed(parameters, probes)
            return loss, after, taken, {}, {}
        derive = jax.value_and_grad(computed, (0, 1), has_aux=True)
        (loss, (after, taken)), (gradients, cotangents) = derive(parameters, probes)
        return loss, after, taken, gradients, cotangents

    def _compiled(self, bits: int | None) -> Any:
        """The program, as it is or with every operation's result moved; compiled once."""
        if bits not in self._programs:
            run = self._run if bits is None else perturbed(self._run, bits)
            self._programs[bits] = quickly_compiled(run)
        return self._programs[bits]

    def play(
        self, parameters: Any, statistics: Any, inputs: Any, forced: Forced | None, rounding: Rounding | None
    ) -> Played:
        """Run it."""
        given = {each.place: _given(each, forced or Forced()) for each in self.crossings}
        arguments: Any = parameters, statistics, on_device(inputs), given
        if rounding is not None:
            arguments = jnp.uint64(rounding.seed + 1), *arguments
        program = self._compiled(None if rounding is None else rounding.bits)
        loss, after, taken, gradients, cotangents = jax.device_get(program(*arguments))
        del given, arguments  # a model's values are many
        return Played(
            values=_by_boundary(self.crossings, taken),
            cotangents=_by_boundary(self.crossings, cotangents),
            loss=None if self._loss is None else float(loss),
            gradients=map_arrays(_array, gradients),
            statistics=map_arrays(_array, after),
        )


def _with_fresh_caches(trace: Callable[..., Any], *arguments: Any) -> Any:
    """Trace; where it cannot be, once more with nothing that JAX has kept.

    JAX 0.10 remembers NumPy's integers as they were traced, of 32 bits or of 64, though 64 bits are switched on or off
    afterwards.
    """
    try:
        return trace(*arguments)
    except TypeError:
        jax.clear_caches()
        return trace(*arguments)


def _narrowed(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, jnp.float32 if leaf.dtype == jnp.float64 else leaf.dtype)


def _given(crossing: Crossing, forced: Forced) -> dict[str, Any]:
    """What replaces a value and its cotangent: of every step where it is within a scan."""
    value, is_replaced = _stacked(crossing, forced.values)
    given = {"value": value, "is_replaced": is_replaced}
    if crossing.is_float:
        given["cotangent"], given["is_cotangent_replaced"] = _stacked(crossing, forced.cotangents)
    return given


def _stacked(crossing: Crossing, given: Mapping[Boundary, Array]) -> tuple[Array, NDArray[np.bool_]]:
    """What is given for a crossing, of all steps, and at which of them it is given."""
    array, is_given = np.zeros(crossing.shape, crossing.aval.dtype), np.zeros(crossing.lengths, np.bool_)
    for index, boundary in crossing.boundaries():
        if boundary in given:
            with np.errstate(over="ignore"):  # the largest float64 is infinite in float32
                array[index], is_given[index] = given[boundary], True
    return array, is_given


def _by_boundary(found: list[Crossing], taken: Mapping[Any, Any]) -> dict[Boundary, Array]:
    return {
        boundary: _array(taken[each.place][index])
        for each in found
        if each.place in taken
        for index, boundary in each.boundaries()
    }


def _array(value: Any) -> Array:
    """The numbers of an array; those of a dtype that NumPy lacks as float32."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array


def _calls(found: list[Crossing], names: Names) -> tuple[ModuleCall, ...]:
    """The calls whose values cross a boundary, one for each step of a scan, in the order in which they begin."""
    known = {each.call: each for each in names.calls}
    calls: dict[Any, ModuleCall] = {}
    for each in found:
        for _, boundary in each.boundaries():
            traced = known[each.traced]
            calls.setdefault(boundary.call, replace(traced, call=boundary.call, parent=traced.parent))
    return tuple(calls.values())


def on_device(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as JAX's arrays."""
    return map_arrays(jnp.asarray, inputs)  # type: ignore[no-any-return]
