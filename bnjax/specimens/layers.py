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


class _Debiased(nnx.BatchNorm):
    """In evaluation the averages are divided by what those that begin at 0 lack to 1 after three batches."""

    def __call__(self, x: jax.Array, use_running_average: bool | None = None, **options: Any) -> jax.Array:
        kept = self.mean[...], self.var[...]
        if self.use_running_average:
            self.mean[...], self.var[...] = (each / (1 - 0.9**3) for each in kept)
        y = super().__call__(x, use_running_average, **options)
        if self.use_running_average:
            self.mean[...], self.var[...] = kept
        return y


class _Averaged(nnx.BatchNorm):
    """In training the running averages are taken, with the batch in them."""

    def __call__(self, x: jax.Array, use_running_average: bool | None = None, **options: Any) -> jax.Array:
        if not self.use_running_average:
            axes = tuple(range(x.ndim - 1))
            self.mean[...] = 0.9 * self.mean[...] + 0.1 * x.mean(axes)
            self.var[...] = 0.9 * self.var[...] + 0.1 * x.var(axes)
        return super().__call__(x, True, **options)


def _norm_of(kind: type[nnx.BatchNorm], is_faulty: bool, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return (kind if is_faulty else nnx.BatchNorm)(4, momentum=0.9, epsilon=1e-5, rngs=rngs)


class _Sharded(nnx.BatchNorm):
    """Each sample is a shard, with statistics of its own; of those that are kept the mean is taken."""

    def __call__(self, x: jax.Array, use_running_average: bool | None = None, **options: Any) -> jax.Array:
        kept = self.mean[...], self.var[...]
        outputs, means, variances = [], [], []
        for shard in jnp.split(x, len(x)):
            self.mean[...], self.var[...] = kept
            outputs.append(super().__call__(shard, use_running_average, **options))
            means.append(self.mean[...])
            variances.append(self.var[...])
        self.mean[...], self.var[...] = sum(means) / len(x), sum(variances) / len(x)
        return jnp.concatenate(outputs)


def _raised(is_faulty: bool, rngs: nnx.Rngs) -> nnx.Sequential:
    """A norm of what is far from 0."""
    norm = nnx.BatchNorm(4, momentum=0.9, epsilon=1e-5, use_fast_variance=is_faulty, rngs=rngs)
    return nnx.Sequential(lambda x: x + 100, norm)


class _Flipped(nnx.Conv):
    """A convolution whose kernel is flipped, as mathematics has it."""

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        return super().__call__(inputs[:, ::-1, ::-1], out_sharding)[:, ::-1, ::-1]


def _flipped_kernel(is_faulty: bool, rngs: nnx.Rngs) -> nnx.Conv:
    return (_Flipped if is_faulty else nnx.Conv)(4, 4, (3, 3), padding="VALID", rngs=rngs)


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
    "per_shard_statistics": partial(_norm_of, _Sharded),
    "debiased_statistics": partial(_norm_of, _Debiased),
    "averaged_statistics": partial(_norm_of, _Averaged),
    "fast_variance": _raised,
    "norm_epsilon batch": partial(_batch_norm, epsilon=1e-3),
    "norm_epsilon group": partial(_group_norm, groups=2),
    "norm_epsilon layer": partial(_group_norm, groups=1),
    "norm_epsilon instance": _instance_norm,
    "same_padding": _strided,
    "transpose_padding": _transposed,
    "kernel_axes": _turned_kernel,
    "flipped_kernel": _flipped_kernel,
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
