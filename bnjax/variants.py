"""Honest variants: each computes the same in another way, so nothing may be held against it."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import jax

from bnjax.backend import JaxBackend
from bnjax.learner import Learner, evaluation_activations, evaluation_logits
from bnjax.members import evaluation_sums, run_lanes
from bnjax.population import Population
from bnjax.train import sgd_step


def not_compiled(backend: JaxBackend) -> JaxBackend:
    """Every operation is dispatched on its own."""
    return _NotCompiled(backend.device, backend.precision, backend.parts)


def not_donated(backend: JaxBackend) -> JaxBackend:
    """An update gets memory of its own."""
    return _NotDonated(backend.device, backend.precision, backend.parts)


def stock_norm(backend: JaxBackend) -> JaxBackend:
    """Moments by `jnp.var`, and one product after the other, from the left."""
    return replace(backend, parts=replace(backend.parts, batch_moments=_stock_moments, normalize=_stock_normalize))


def _stock_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x.mean(axis=0), x.var(axis=0)


def _stock_normalize(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, eps: float, train: bool
) -> jax.Array:
    del train
    return scale * (x - mean) * jax.lax.rsqrt(var + eps) + bias


def _eager(program: Callable[..., Any]) -> Any:
    @wraps(program)
    def run(*args: Any, **named: Any) -> Any:
        with jax.disable_jit():
            return program(*args, **named)

    return staticmethod(run)


class _NotCompiledLearner(Learner):
    _train_step, _logits, _activations = _eager(sgd_step), _eager(evaluation_logits), _eager(evaluation_activations)


class _NotCompiledPopulation(Population):
    _run_lanes, _evaluate = _eager(run_lanes), _eager(evaluation_sums)


class _NotCompiled(JaxBackend):
    _learner, _population = _NotCompiledLearner, _NotCompiledPopulation


class _NotDonatedLearner(Learner):
    _train_step = staticmethod(jax.jit(sgd_step))


class _NotDonated(JaxBackend):
    _learner = _NotDonatedLearner


VARIANTS: dict[str, Callable[[JaxBackend], JaxBackend]] = {
    "not_compiled": not_compiled,
    "not_donated": not_donated,
    "stock_norm": stock_norm,
}
