"""Which values at boundaries a value is computed from, with no boundary in between."""

from collections.abc import Mapping
from typing import Any

from jax.extend.core import Jaxpr, Literal
from jax.extend.core import primitives as p

from bnjax.crossings import Crossing
from bnjax.interpret import Place, scan_inputs
from parity.backend.port import Boundary

Sources = frozenset[Boundary]
NOTHING: Sources = frozenset()


def sources(jaxpr: Jaxpr, crossings: list[Crossing]) -> dict[Boundary, Sources]:
    """Return the sources of every boundary's value. Scans are followed step by step."""
    found: dict[Boundary, Sources] = {}
    at = {(each.place, index): boundary for each in crossings for index, boundary in each.boundaries()}
    _follow(jaxpr, [NOTHING] * len(jaxpr.invars), (), (), at, found)
    return found


def _follow(
    jaxpr: Jaxpr,
    inputs: list[Sources],
    within: Place,
    step: tuple[int, ...],
    at: Mapping[tuple[Place, tuple[int, ...]], Boundary],
    found: dict[Boundary, Sources],
) -> list[Sources]:
    """Follow the values of a function; returns the sources of its results."""
    known: dict[Any, Sources] = dict(zip(jaxpr.invars, inputs, strict=True))

    def of(variable: Any) -> Sources:
        return NOTHING if isinstance(variable, Literal) else known.get(variable, NOTHING)

    for index, equation in enumerate(jaxpr.eqns):
        place = (*within, index)
        given = [of(variable) for variable in equation.invars]
        boundary = at.get((place, step))
        if boundary is not None:
            found[boundary] = NOTHING.union(*given)
            results = [frozenset((boundary,))]
        else:
            results = _called(equation, given, place, step, at, found)
        known |= zip(equation.outvars, results, strict=True)
    return [of(variable) for variable in jaxpr.outvars]


def _called(
    equation: Any, given: list[Sources], place: Place, step: tuple[int, ...], at: Any, found: Any
) -> list[Sources]:
    params = equation.params
    match equation.primitive:
        case p.jit_p:
            return _follow(params["jaxpr"].jaxpr, given, (*place, 0), step, at, found)
        case p.remat_p:
            return _follow(params["jaxpr"], given, (*place, 0), step, at, found)
        case p.cond_p:
            branches = [
                _follow(branch.jaxpr, given[1:], (*place, number), step, at, found)
                for number, branch in enumerate(params["branches"])
            ]
            return [given[0].union(*results) for results in zip(*branches, strict=True)]
        case p.scan_p:
            fixed, carry, xs = scan_inputs(params, given)
            carried = len(carry)
            stacked = [NOTHING] * (len(equation.outvars) - carried)
            steps = range(params["length"])
            for number in reversed(steps) if params["reverse"] else steps:
                results = _follow(params["jaxpr"].jaxpr, [*fixed, *carry, *xs], (*place, 0), (*step, number), at, found)
                carry = results[:carried]
                stacked = [one | other for one, other in zip(stacked, results[carried:], strict=True)]
            return [*carry, *stacked]
    return [NOTHING.union(*given)] * len(equation.outvars)
