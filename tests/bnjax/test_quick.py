"""Compiling in the least time: by how much a program computes, and once for each form of what it is given."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from bnjax import quick
from bnjax.quick import AT_ONCE, FEW, OPTIMIZED, numbers_per_operation, quickly_compiled


def counted(function: Any, *shapes: tuple[int, ...]) -> float:
    return numbers_per_operation(jax.make_jaxpr(function)(*map(jnp.zeros, shapes)).jaxpr)


def test_a_convolution_is_counted_by_its_products_and_a_window_by_its_size() -> None:
    images, kernel = (1, 3, 8, 8), (4, 3, 5, 5)
    convolved = counted(lambda x, k: jax.lax.conv(x, k, (1, 1), "VALID"), images, kernel)
    assert convolved == (1 * 4 * 4 * 4) * (3 * 5 * 5)
    assert counted(lambda x: jax.lax.cumsum(x, 1), (2, 9)) == 18
    pooled = counted(
        lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"), images
    )
    assert pooled == (3 * 4 * 4) * 4
    assert counted(jnp.dot, (6, 50), (50, 7)) == 42  # a library's


def test_a_step_of_a_scan_is_counted_as_often_as_it_is_made() -> None:
    def tripled(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda carry, _: (carry * 2.0, None), x, None, length=3)[0]

    assert counted(tripled, (10,)) == (10 + 3 * 10) / 2  # the scan, and what is within it


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options that programs are compiled with."""
    found, compile_ = [], jax.stages.Lowered.compile

    def seen(self: Any, compiler_options: Any = None) -> Any:
        found.append(compiler_options)
        return compile_(self, compiler_options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", seen)
    return found


def test_what_computes_little_is_compiled_at_once_and_the_rest_is_optimized(asked: list[Any]) -> None:
    quick._can_be_at_once()
    asked.clear()
    double = quickly_compiled(lambda x: 2.0 * x)
    for size in (8, 8, FEW):
        assert double(jnp.ones(size)).tolist() == [2.0] * size
    assert asked == [AT_ONCE, OPTIMIZED]  # each form once


def test_where_xla_has_no_such_option_all_is_optimized(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "AT_ONCE", {"xla_no_such_option": "1"})
    monkeypatch.setattr(quick, "_can_be_at_once", quick._can_be_at_once.__wrapped__)
    assert quickly_compiled(lambda x: 2.0 * x)(jnp.ones(3)).tolist() == [2.0] * 3
    assert asked[-1] == OPTIMIZED
