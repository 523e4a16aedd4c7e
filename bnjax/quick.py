"""Compiling in the least time what is run a few times only, as every program of a comparison is."""

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import jax
from jax.extend.core import Jaxpr

from bnjax.interpret import products_of_convolution, visits

OPTIMIZED: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}
# On a CPU a third of the time, by XLA's older way to emit fusions too; but the loops are ten times slower.
AT_ONCE: dict[str, str | bool] = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False}
# Numbers that an operation computes, on average. Beyond some 100,000 slow loops take longer than optimizing them, as an
# encoder's comparison in `benchmarks/compare_cost.py` shows, with JAX's the reference and larger batches.
FEW = 50_000


def quickly_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is compiled in the least time, once for each form of its arguments."""
    programs: dict[Any, Any] = {}

    def run(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        form = structure, *map(jax.typeof, leaves)
        if form not in programs:
            traced = jax.jit(function).trace(*arguments)
            is_small = numbers_per_operation(traced.jaxpr.jaxpr) < FEW
            options = AT_ONCE if is_small and _can_be_at_once() else OPTIMIZED
            programs[form] = traced.lower().compile(compiler_options=options)
        return programs[form](*arguments)

    return run


def numbers_per_operation(jaxpr: Jaxpr) -> float:
    """Return how many numbers an operation of a traced function computes, on average.

    A convolution is counted by its products, and what looks at a window by its size. Matrix products are a library's.
    """
    found = [prod(each.lengths) * _numbers(each.equation) for each in visits(jaxpr)]
    return sum(found) / max(1, len(found))


def _numbers(equation: Any) -> int:
    largest = max((prod(v.aval.shape) for v in (*equation.invars, *equation.outvars) if v.aval.shape), default=1)
    given = sum(prod(v.aval.shape) for v in equation.outvars if hasattr(v.aval, "shape"))
    match equation.primitive.name:
        case "conv_general_dilated":
            return given * products_of_convolution(equation)
        case "dot_general":
            return given
        case _ if "window_dimensions" in equation.params:
            return given * prod(equation.params["window_dimensions"])
    return largest


@cache
def _can_be_at_once() -> bool:
    """Whether programs run on a CPU, and this version of XLA takes the options."""
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=AT_ONCE)
    except Exception:
        return False
    return True
