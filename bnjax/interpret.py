"""A traced function, evaluated operation by operation, so that something else may take the place of some of them.

What is called within it (`jit`, `checkpoint`, `scan`, `cond`) is entered; a `scan` stays a scan, whose steps are
evaluated in the same way. `while` loops, and derivatives that the user has written, are evaluated as they are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, Literal, jaxpr_as_fun
from jax.extend.core import primitives as p

Place = tuple[int, ...]  # the index of an equation, after those of what it is within
Taken = dict[Place, Any]
_ALONE = DebugInfo("evaluate", "one operation", None, None)  # what JAX's messages call it


class Visitor:
    """What is done at each equation; this one leaves everything as it is."""

    def number(self, value: Any) -> Any:
        """Return a value as an equation is given it."""
        return value

    def visit(self, place: Place, equation: Any, values: list[Any], given: Any) -> tuple[list[Any], Any] | None:
        """Return the results of an equation, and what is to be taken out of there; None to evaluate it as it is.

        Args:
            place: of the equation.
            equation: its primitive and parameters.
            values: what it is applied to.
            given: what `evaluate` was given; within a scan, of the present step.
        """
        return None

    def elsewhere(self, place: Place, equation: Any, value: Any, result: Any) -> Any:
        """Return what later uses of an equation's first argument are given.

        Args:
            place: of the equation.
            equation: its primitive and parameters.
            value: the argument.
            result: the first that the equation gave.
        """
        return value

    def steps(self, place: Place, length: int, given: Any) -> Any:
        """Return what the steps of a scan are given: arrays with the steps along their first axis."""
        return given


@dataclass(frozen=True)
class Visit:
    """An equation that is reached: its place, itself, and the lengths of the scans that it is within."""

    place: Place
    equation: Any
    lengths: tuple[int, ...]


def visits(jaxpr: Jaxpr, within: Place = (), lengths: tuple[int, ...] = ()) -> Iterator[Visit]:
    """Go through every equation that is evaluated, in order."""
    for index, equation in enumerate(jaxpr.eqns):
        place = (*within, index)
        yield Visit(place, equation, lengths)
        inside = (*lengths, equation.params["length"]) if equation.primitive is p.scan_p else lengths
        for number, inner in enumerate(_inner(equation)):
            yield from visits(inner.jaxpr, (*place, number), inside)


def _inner(equation: Any) -> list[ClosedJaxpr]:
    """The functions that an equation calls and that are entered."""
    match equation.primitive:
        case p.jit_p | p.scan_p:
            return [equation.params["jaxpr"]]
        case p.remat_p:
            return [ClosedJaxpr(equation.params["jaxpr"], ())]
        case p.cond_p:
            return list(equation.params["branches"])
    return []


def evaluate(
    jaxpr: ClosedJaxpr, arguments: list[Any], visitor: Visitor, given: Any, within: Place = ()
) -> tuple[list[Any], Taken]:
    """Evaluate a traced function.

    Returns:
        Its results, and what the visitor took, by place; of a scan with the steps along the first axis. Of the branches
        of a `cond`, what was not evaluated gives NaN, or 0 if it is no floating-point number.
    """
    known: dict[Any, Any] = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    known |= zip(jaxpr.jaxpr.invars, arguments, strict=True)
    taken: Taken = {}
    for index, equation in enumerate(jaxpr.jaxpr.eqns):
        values = [visitor.number(v.val if isinstance(v, Literal) else known[v]) for v in equation.invars]
        place = (*within, index)
        results, more = _one(place, equation, values, visitor, given)
        known |= zip(equation.outvars, results, strict=True)
        if equation.invars and results and not isinstance(first := equation.invars[0], Literal):
            known[first] = visitor.elsewhere(place, equation, known[first], results[0])
        taken |= more
    return [v.val if isinstance(v, Literal) else known[v] for v in jaxpr.jaxpr.outvars], taken


def _one(place: Place, equation: Any, values: list[Any], visitor: Visitor, given: Any) -> tuple[list[Any], Taken]:
    visited = visitor.visit(place, equation, values, given)
    if visited is not None:
        return visited[0], {} if visited[1] is None else {place: visited[1]}
    inner = _inner(equation)
    match equation.primitive:
        case p.scan_p:
            return _scan(place, equation.params, values, visitor, given)
        case p.cond_p:
            return _cond(place, inner, values, visitor, given)
        case _ if inner:
            return evaluate(inner[0], values, visitor, given, (*place, 0))
    return apply(equation, values), {}


def products_of_convolution(equation: Any) -> int:
    """Return how many products a convolution adds up for each number that it gives."""
    kernel, order = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
    return prod(kernel) // kernel[order[0]]


def apply(equation: Any, values: list[Any]) -> list[Any]:
    """Return the results of one equation, as it is."""
    inputs = {v: value for v, value in zip(equation.invars, values, strict=True) if not isinstance(v, Literal)}
    alone = Jaxpr((), list(inputs), equation.outvars, [equation], equation.effects, _ALONE)
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*inputs.values())


def _scan(place: Place, params: Any, values: list[Any], visitor: Visitor, given: Any) -> tuple[list[Any], Taken]:
    fixed, start, xs = scan_inputs(params, values)
    carried = len(start)

    def body(carry: list[Any], step: tuple[list[Any], Any]) -> tuple[list[Any], Any]:
        x, given_here = step
        results, taken = evaluate(params["jaxpr"], [*fixed, *carry, *x], visitor, given_here, (*place, 0))
        return results[:carried], (results[carried:], taken)

    steps = xs, visitor.steps(place, params["length"], given)
    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    carry, (ys, taken) = jax.lax.scan(body, start, steps, **options)
    return [*carry, *ys], taken


def scan_inputs(params: Mapping[str, Any], values: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return of the inputs of a scan those that are the same for every step, those carried, and those scanned over."""
    if "ft_in" in params:  # since JAX 0.11
        fixed, start, xs = params["ft_in"].update(values).unpack()
        return list(fixed), list(start), list(xs)
    consts, carried = params["num_consts"], params["num_carry"]
    return values[:consts], values[consts : consts + carried], values[consts + carried :]


def _cond(
    place: Place, branches: list[ClosedJaxpr], values: list[Any], visitor: Visitor, given: Any
) -> tuple[list[Any], Taken]:
    def branch(number: int, *operands: Any) -> tuple[list[Any], Taken]:
        return evaluate(branches[number], list(operands), visitor, given, (*place, number))

    index, operands = values[0], values[1:]
    shapes: Taken = {}
    for number in range(len(branches)):
        shapes |= jax.eval_shape(lambda *o, n=number: branch(n, *o)[1], *operands)

    def filled(number: int) -> Any:
        def call(*operands: Any) -> tuple[list[Any], Taken]:
            results, taken = branch(number, *operands)
            return results, {at: taken.get(at, jax.tree.map(_nothing, shape)) for at, shape in shapes.items()}

        return call

    return jax.lax.switch(index, [filled(number) for number in range(len(branches))], *operands)


def _nothing(shape: Any) -> jax.Array:
    return jnp.full(shape.shape, jnp.nan if jnp.issubdtype(shape.dtype, jnp.floating) else 0, shape.dtype)
