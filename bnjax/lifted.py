"""A traced function with everything that it computes in narrower numbers computed in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.extend.core import primitives as p

from bnjax.interpret import Place, Visitor, evaluate
from bnjax.islands import is_narrow


class _Lift(Visitor):
    """Gives every equation float64, and has it give float64; see `bnjax.interpret.Visitor`."""

    def number(self, value: Any) -> Any:
        """Return a value in float64; of a constant the number that was written, not what float32 made of it."""
        if not is_narrow(value):
            return value
        is_constant = np.ndim(value) == 0 and not isinstance(value, Tracer)
        return jnp.asarray(float(str(np.float32(value))) if is_constant else value, jnp.float64)

    def visit(self, place: Place, equation: Any, values: list[Any], given: Any) -> tuple[list[Any], None] | None:
        if not any(is_narrow(v.aval) for v in (*equation.outvars, *equation.invars)):
            return None
        if equation.primitive in (p.jit_p, p.scan_p, p.remat_p, p.cond_p):
            return None
        inner = equation.params.get("call_jaxpr")  # of a derivative that the user has written
        if isinstance(inner, ClosedJaxpr):
            return evaluate(inner, values, self, given, place)[0], None
        params = {name: _lifted(value) for name, value in equation.params.items()}
        results = equation.primitive.bind(*values, **params)
        return list(results) if equation.primitive.multiple_results else [results], None


def _lifted(param: Any) -> Any:
    is_dtype = isinstance(param, np.dtype | type(jnp.dtype(jnp.bfloat16)))
    return jnp.dtype(jnp.float64) if is_dtype and jnp.issubdtype(param, jnp.floating) else param


def lifted(jaxpr: ClosedJaxpr) -> ClosedJaxpr:
    """Return a traced function whose results, and all on the way to them, are float64 where they were narrower.

    A derivative that the user has written is that of what is computed instead.
    """
    arguments = [
        jax.ShapeDtypeStruct(v.aval.shape, jnp.float64 if is_narrow(v.aval) else v.aval.dtype)
        for v in jaxpr.jaxpr.invars
    ]
    return jax.make_jaxpr(lambda *values: evaluate(jaxpr, list(values), _Lift(), None)[0])(*arguments)


def lifted_function(function: Callable[..., Any], *like: Any) -> Callable[..., Any]:
    """Return a function of trees that computes in float64; see `lifted`.

    Args:
        function: gives a tree as well.
        like: arguments of the forms that it will be given.
    """
    traced, form = jax.make_jaxpr(function, return_shape=True)(*like)
    program = lifted(traced)

    def wide(*arguments: Any) -> Any:
        leaves = [leaf.astype(jnp.float64) if is_narrow(leaf) else leaf for leaf in jax.tree.leaves(arguments)]
        return jax.tree.unflatten(jax.tree.structure(form), jaxpr_as_fun(program)(*leaves))

    return wide
