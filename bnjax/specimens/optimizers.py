"""A dense layer under optimizers of every convention: PyTorch's, and those of optax."""

from collections.abc import Callable
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import optax

import bnjax

from .losses import cross_entropy

RATE, SHARE = 0.01, 0.1


def _rate(count: Any) -> Any:
    """The rate of a step; optax's own schedules are float32."""
    return 0.1 * 0.5 ** jnp.asarray(count, float)


def _averaged(inner: optax.GradientTransformation, share: float) -> optax.GradientTransformation:
    """What is kept is an average of the parameters, into which a step brings its share."""

    def init(params: Any) -> Any:
        return inner.init(params), params

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        own, fast = state
        inner_updates, own = inner.update(updates, own, fast)
        fast = optax.apply_updates(fast, inner_updates)
        return jax.tree.map(lambda p, f: share * (f - p), params, fast), (own, fast)

    return optax.GradientTransformation(init, update)


def _adam(divided: Callable[..., jax.Array], b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Adam; `divided` makes its direction of the averages and the count."""

    def init(params: Any) -> Any:
        return *[jax.tree.map(jnp.zeros_like, params)] * 2, jnp.zeros((), int)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        mean, square, count = state
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, mean, updates)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, square, updates)
        t = jnp.asarray(count + 1, float)
        steps = jax.tree.map(lambda m, v: -RATE * divided(m, v, 1 - b1**t, 1 - b2**t), mean, square)
        return steps, (mean, square, count + 1)

    return optax.GradientTransformation(init, update)


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "": optax.adam(RATE),
    "learning_rate": optax.sgd(0.11),
    "optimizer_momentum": optax.sgd(0.1, momentum=0.8),
    "nesterov_form": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "sgd_dampening": optax.sgd(0.1, momentum=0.9),
    "missing_clip": optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(0.1)),
    "clip_epsilon": optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(0.1)),
    "missing_clip left out": optax.sgd(0.1),
    "schedule_offset ahead": optax.sgd(lambda count: _rate(count + 1), momentum=0.9),
    "schedule_offset behind": optax.sgd(lambda count: _rate(jnp.maximum(count - 1, 0)), momentum=0.9),
    "momentum_times_rate": optax.chain(optax.scale_by_learning_rate(_rate), optax.trace(0.9)),
    "average_of_weights": _averaged(optax.adam(RATE), SHARE),
    "weight_decay_mask": optax.adamw(RATE, weight_decay=0.1, mask=_matrices),
    "weight_decay_mask all": optax.adamw(RATE, weight_decay=0.1),
    "adam_epsilon root": optax.adam(RATE, eps=0.0, eps_root=1e-8),
    "adam_epsilon early": _adam(lambda m, v, c1, c2: m / c1 * jnp.sqrt(c2) / (jnp.sqrt(v) + 1e-8)),
    "adam_debias": _adam(lambda m, v, c1, c2: m / (jnp.sqrt(v) + 1e-8)),
    "rmsprop_initial": optax.rmsprop(0.1, decay=0.9, eps_in_sqrt=False, initial_scale=1.0),
    "optimizer_epsilon": optax.adam(RATE, eps=1e-6),
    "adam_betas": optax.adam(RATE, b2=0.99),
    "amsgrad": optax.adam(RATE),
    "nadam_schedule": optax.nadam(RATE),
    "weight_decay coupled": optax.adamw(RATE, weight_decay=0.1),
    "weight_decay": optax.adamw(RATE),
    "rmsprop_epsilon": optax.rmsprop(0.1, decay=0.9),
    "rmsprop_decay": optax.rmsprop(0.1, decay=0.9, eps_in_sqrt=False),
    "adagrad_defaults": optax.adagrad(0.1),
}


def port(fault: str = "") -> Any:
    return bnjax.port(fnn.Dense(3), loss=cross_entropy, optimizer=OPTIMIZERS[fault])
