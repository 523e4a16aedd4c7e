"""Every operation's result moved by one ulp, forward and backward: what the noise floor is drawn from.

The floating-point results of every operation of a traced function are moved up or down at random. What only selects,
copies or rearranges numbers rounds nothing, and is left alone.
"""

from collections.abc import Callable
from math import prod
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from bnjax.interpret import Place, Visitor, apply, evaluate, products_of_convolution
from parity.backend.port import LARGEST

# The results of these are numbers that went in (or 0, or an infinity), so nothing is rounded.
EXACT = frozenset({
    "abs", "all_gather", "argmax", "argmin", "bitcast_convert_type", "broadcast_in_dim", "ceil", "clamp",
    "concatenate", "conj", "convert_element_type", "copy", "cummax", "cummin", "device_put", "dynamic_slice",
    "dynamic_update_slice", "expand_dims", "floor", "gather", "imag", "iota", "is_finite", "max", "min", "name",
    "neg", "optimization_barrier", "pad", "pmax", "pmin", "ppermute", "real", "reduce_max", "reduce_min",
    "reduce_window_max", "reduce_window_min", "reshape", "rev", "round", "scatter", "scatter_max", "scatter_min",
    "select_and_gather_add", "select_n", "sharding_constraint", "sign", "slice", "sort", "split", "squeeze", "stack",
    "stop_gradient", "top_k", "transpose", "unstack",
})  # fmt: skip
ENTERED = frozenset({"jit", "scan", "cond", "remat2", "checkpoint"})  # what `evaluate` enters
_EXPONENT, _SIGN = np.uint64(0x7FF0000000000000), np.uint64(1 << 63)
# Odd numbers without a pattern, for multiplicative hashing.
_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


class _Perturb(Visitor):
    """Moves what every equation gives; see `bnjax.interpret.Visitor`. It is given a seed."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def visit(self, place: Place, equation: Any, values: list[Any], given: jax.Array) -> tuple[list[Any], None] | None:
        if equation.primitive.name in EXACT | ENTERED or not any(_is_float64(v.aval) for v in equation.outvars):
            return None
        results, ulps = apply(equation, values), ulps_of_sum(equation)
        least = _size_of_sum(values[0], results[0]) if equation.primitive.name == "reduce_sum" else 0.0
        own = [given + _hash(place, number) for number in range(len(results))]
        return [move(each, s, self._bits, ulps, least) for each, s in zip(results, own, strict=True)], None

    def steps(self, place: Place, length: int, given: jax.Array) -> jax.Array:
        return given + jnp.arange(length, dtype=jnp.uint64) * _ODD[2] + _hash(place)


def perturbed(function: Callable[..., Any], bits: int) -> Callable[..., Any]:
    """Return a function with every operation's float64 results moved by one ulp; a seed (uint64) comes first.

    Args:
        function: of trees of arrays.
        bits: of mantissa, of the rounding that is simulated.
    """

    def call(seed: jax.Array, *arguments: Any) -> Any:
        jaxpr, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results, _ = evaluate(jaxpr, jax.tree.leaves(arguments), _Perturb(bits), seed * _ODD[1])
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return call


def move(value: jax.Array, seed: jax.Array, bits: int, ulps: float = 1.0, least: float | jax.Array = 0.0) -> jax.Array:
    """Move every element by one ulp (or by some), up or down at random; 0, infinities and masks stay.

    The signs are a hash of the seed, the place in the array and the value: random numbers for each operation would take
    most of the time of compiling.
    """
    if not _is_float64(value):
        return value
    pattern = jax.lax.bitcast_convert_type(value, jnp.uint64)
    power = jax.lax.bitcast_convert_type(pattern & _EXPONENT, jnp.float64)
    place = jax.lax.iota(jnp.uint64, value.size).reshape(value.shape) * _ODD[0]
    mixed = (pattern ^ seed ^ place) * _ODD[1]
    sign = ((mixed ^ (mixed >> np.uint64(32))) * _ODD[2]) & _SIGN
    step = jnp.where(jnp.abs(value) < LARGEST, jnp.maximum(power, least), 0.0) * (ulps * 2.0**-bits)
    return value + jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(step, jnp.uint64) | sign, jnp.float64)


def _size_of_sum(terms: Any, value: Any) -> float | jax.Array:
    """How large a sum of terms is whose signs are random, `sqrt(count) rms(terms)`; 0 of what adds up nothing.

    Terms that cancel, as those of a bias before batch norm do, are rounded on the way as such a sum is.
    """
    if not _is_float64(terms) or terms.size < 2 * value.size:
        return 0.0
    size = jnp.sqrt(jnp.sum(jnp.square(terms)) / value.size)
    return jnp.where(size < LARGEST, size, 0.0)


def ulps_of_sum(equation: Any) -> float:
    """Return how many ulps rounding moves a sum of `count` numbers: `sqrt(count / 12)`, and at least 1.

    What gives fewer numbers than it is given has added them up.
    See `parity.verdict.noise.Unit.ulps_of_sum`.
    """
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            count = prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        case "conv_general_dilated":
            count = products_of_convolution(equation)
        case _:
            sizes = (prod(variable.aval.shape) for variable in equation.invars)
            count = max(sizes, default=1) // max(1, min(prod(variable.aval.shape) for variable in equation.outvars))
    return max(1.0, (count / 12) ** 0.5)


def _is_float64(value: Any) -> bool:
    return getattr(value, "dtype", None) == jnp.float64


def _hash(*place: Any) -> np.uint64:
    return np.uint64(crc32(repr(place).encode()))
