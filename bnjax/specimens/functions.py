"""Branches of two dense layers with functions between them, each in a convention of its own; PyTorch, and linen."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.nn import gelu, leaky_relu, relu, silu, softmax

import bnjax

from .losses import cross_entropy

Function = Callable[[jax.Array], jax.Array]


def _packed(x: jax.Array, step: int) -> jax.Array:
    q, k, v = jnp.split(x, 3, -1)[::step]
    return jnp.concatenate([q * k, k * v, v], -1).mean(1)


def _mask(x: jax.Array, is_kept: bool) -> jax.Array:
    return jnp.where((jnp.arange(5)[:, None] < 2) == is_kept, x, 0.0).sum(1)


def _filled(x: jax.Array, value: float) -> jax.Array:
    return jnp.where(jnp.arange(5)[:, None] < 2, value, x).mean(1) / 1e4


def _partly_zero(x: jax.Array) -> jax.Array:
    return x - jnp.where(jnp.arange(5)[:, None] < 2, stop_gradient(x), 0.0)


def _causal(x: jax.Array, offset: int) -> jax.Array:
    return (jnp.tril(jnp.ones((5, 5)), offset) @ x).mean(1)


def _rms_norm(x: jax.Array, eps: float) -> jax.Array:
    return (x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + eps)).mean(1)


def _heads(x: jax.Array, order: str) -> jax.Array:
    split = x.reshape(*x.shape[:2], 2, 3) if order == "hd" else x.reshape(*x.shape[:2], 3, 2).swapaxes(2, 3)
    return (split * softmax(split, 3)).reshape(x.shape).mean(1)


def _layer_norm(x: jax.Array, is_fast: bool) -> jax.Array:
    x = x + 100
    mean = x.mean(-1, keepdims=True)
    variance = (x**2).mean(-1, keepdims=True) - mean**2 if is_fast else x.var(-1, keepdims=True)
    return ((x - mean) * jax.lax.rsqrt(variance + 1e-5)).mean(1)


def _window(x: jax.Array, width: int) -> jax.Array:
    gap = jnp.arange(5)[:, None] - jnp.arange(5)
    scores = jnp.where((gap >= 0) & (gap < width), x @ x.swapaxes(1, 2), -jnp.inf)
    return (softmax(scores) @ x).mean(1)


def _middle(x: jax.Array, method: Any) -> jax.Array:
    return (x - jnp.quantile(x, 0.5, axis=-1, keepdims=True, method=method)).mean(1)


def _tied(x: jax.Array) -> jax.Array:
    """The first positions are 0, and the others less."""
    return jnp.where(jnp.arange(5)[:, None] < 2, _partly_zero(x), x - 9)


def _first_of(x: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, jnp.argmax(x, 1, keepdims=True), 1)[:, 0]


# By fault: the function as it should be, and as it is with the fault.
FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "gelu_form": (lambda x: gelu(x, False).mean(1), lambda x: gelu(x).mean(1)),
    "activation_slope": (lambda x: leaky_relu(x, 0.1).mean(1), lambda x: leaky_relu(x, 0.01).mean(1)),
    "other_activation": (lambda x: silu(x).mean(1), lambda x: gelu(x, False).mean(1)),
    "missing_module": (lambda x: jnp.tanh(x).mean(1), lambda x: x.mean(1)),
    "softmax_axis": (lambda x: softmax(x, -1).mean(1), lambda x: softmax(x, 1).mean(1)),
    "attention_scale": (lambda x: softmax(x / 2, -1).mean(1), lambda x: softmax(x / 4, -1).mean(1)),
    "standard_deviation": (lambda x: x.std(1, ddof=1), lambda x: x.std(1)),
    "pool_kind": (lambda x: x.mean(1), lambda x: x.max(1)),
    "taken_position": (lambda x: x[:, 0], lambda x: x[:, -1]),
    "missing_residual": (lambda x: (x + jnp.tanh(x)).mean(1), lambda x: jnp.tanh(x).mean(1)),
    "stopped_gradient": (lambda x: (x + jnp.tanh(x)).mean(1), lambda x: (x + stop_gradient(jnp.tanh(x))).mean(1)),
    "missing_scale": (lambda x: (x * 6**0.5).mean(1), lambda x: x.mean(1)),
    "extra_scale": (lambda x: x.mean(1), lambda x: 3 * x.mean(1)),
    "mask_polarity": (partial(_mask, is_kept=True), partial(_mask, is_kept=False)),
    "mask_constant": (partial(_filled, value=-1e4), partial(_filled, value=-1e9)),
    "relu_at_zero": (
        lambda x: (x + relu(_partly_zero(x))).mean(1),
        lambda x: (x + jnp.maximum(_partly_zero(x), 0)).mean(1),
    ),
    "causal_offset": (partial(_causal, offset=0), partial(_causal, offset=-1)),
    "qkv_order": (partial(_packed, step=1), partial(_packed, step=-1)),
    "head_axes": (partial(_heads, order="hd"), partial(_heads, order="dh")),
    "sliding_window": (partial(_window, width=2), partial(_window, width=3)),
    "fast_variance": (partial(_layer_norm, is_fast=False), partial(_layer_norm, is_fast=True)),
    "median_rule": (partial(_middle, method="lower"), partial(_middle, method="linear")),
    "tie_rule": (lambda x: _tied(x).max(1), lambda x: _first_of(_tied(x))),
    "norm_epsilon": (partial(_rms_norm, eps=1e-6), partial(_rms_norm, eps=1e-5)),
}


class FlaxBranch(fnn.Module):
    function: Function

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return fnn.Dense(3, name="head")(self.function(fnn.Dense(6, name="first")(x)))


class FlaxNet(fnn.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        of = {name: honest for name, (honest, _) in FUNCTIONS.items()}
        of = {self.fault: FUNCTIONS[self.fault][1]} if self.fault else of
        return jnp.stack([FlaxBranch(function, name=name)(x) for name, function in of.items()]).mean(0)


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
