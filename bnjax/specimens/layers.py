"""Branches of a convolution and another layer, each in a convention of its own; PyTorch, and NNX."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import bnjax

from .losses import cross_entropy


def _batch_norm(is_faulty: bool, rngs: nnx.Rngs, epsilon: float = 1e-5) -> nnx.BatchNorm:
    return nnx.BatchNorm(4, momentum=0.9, epsilon=epsilon if is_faulty else 1e-5, rngs=rngs)


def _group_norm(is_faulty: bool, rngs: nnx.Rngs, groups: int) -> nnx.GroupNorm:
    return nnx.GroupNorm(4, groups, epsilon=1e-6 if is_faulty else 1e-5, rngs=rngs)


def _instance_norm(is_faulty: bool, rngs: nnx.Rngs) -> nnx.InstanceNorm:
    return nnx.InstanceNorm(4, epsilon=1e-6 if is_faulty else 1e-5, rngs=rngs)


def _strided(is_faulty: bool, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(4, 4, (3, 3), strides=2, padding="SAME" if is_faulty else 1, rngs=rngs)


def _transposed(is_faulty: bool, rngs: nnx.Rngs) -> nnx.ConvTranspose:
    padding = "SAME" if is_faulty else ((1, 2), (1, 2))
    return nnx.ConvTranspose(4, 4, (3, 3), strides=(2, 2), padding=padding, transpose_kernel=True, rngs=rngs)


def _unbiased(is_faulty: bool, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(4, 4, (3, 3), padding="VALID", use_bias=not is_faulty, rngs=rngs)


class _Turned(nnx.Conv):
    """A convolution that has its kernel's width before its height."""

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        return super().__call__(inputs.swapaxes(1, 2), out_sharding).swapaxes(1, 2)


def _turned_kernel(is_faulty: bool, rngs: nnx.Rngs) -> nnx.Conv:
    return (_Turned if is_faulty else nnx.Conv)(4, 4, (3, 3), padding="VALID", rngs=rngs)


# By fault.
LAYERS: dict[str, Callable[[bool, nnx.Rngs], Any]] = {
    "statistics_never_used": _batch_norm,
    "statistics_always_used": _batch_norm,
    "norm_epsilon batch": partial(_batch_norm, epsilon=1e-3),
    "norm_epsilon group": partial(_group_norm, groups=2),
    "norm_epsilon layer": partial(_group_norm, groups=1),
    "norm_epsilon instance": _instance_norm,
    "same_padding": _strided,
    "transpose_padding": _transposed,
    "kernel_axes": _turned_kernel,
    "missing_bias": _unbiased,
}
MODES = {"statistics_never_used": False, "statistics_always_used": True}  # use_running_average, whatever the mode


class NnxBranch(nnx.Module):
    def __init__(self, name: str, is_faulty: bool, rngs: nnx.Rngs) -> None:
        self.conv, self.head = nnx.Conv(3, 4, (3, 3), padding=1, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.layer = LAYERS[name](is_faulty, rngs)
        self.mode = {"use_running_average": MODES[name]} if is_faulty and name in MODES else {}

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(jax.nn.softplus(self.layer(self.conv(x), **self.mode)).mean((1, 2)))


class NnxNet(nnx.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    def __init__(self, fault: str) -> None:
        names = [fault] if fault else list(LAYERS)
        self.branches = nnx.List([NnxBranch(name, bool(fault), nnx.Rngs(0)) for name in names])

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.stack([branch(x) for branch in self.branches]).mean(0)


def port(fault: str = "") -> Any:
    return bnjax.port(NnxNet(fault), loss=cross_entropy)
