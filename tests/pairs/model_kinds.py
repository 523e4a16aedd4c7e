"""One small network in every library: two layers, the first with batch norm and dropout; and what it should compute."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from torch import nn

import bnjax
import bntorch

RNG = np.random.default_rng(0)
INPUTS = {"x": RNG.normal(size=(6, 5)), "labels": RNG.integers(3, size=6)}


def jax_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(torch.tanh(self.norm(self.first(x)))))


class LinenNet(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = fnn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(fnn.Dense(4, name="first")(x))
        return fnn.Dense(3, name="last")(fnn.Dropout(0.5, deterministic=not train)(fnn.tanh(x)))


class NnxNet(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.norm = nnx.Linear(5, 4, rngs=rngs), nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.drop, self.last = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.drop(jnp.tanh(self.norm(self.first(x)))))


class EquinoxNet(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    drop: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        self.first, self.last = eqx.nn.Linear(5, 4, key=key), eqx.nn.Linear(4, 3, key=key)
        self.norm, self.drop = eqx.nn.BatchNorm(4, axis_name="batch", mode="ema", momentum=0.9), eqx.nn.Dropout(0.5)

    def __call__(self, x: jax.Array, state: eqx.nn.State) -> tuple[jax.Array, eqx.nn.State]:
        x, state = self.norm(self.first(x), state)
        return self.last(self.drop(jnp.tanh(x))), state


def plain(parameters: Any, x: jax.Array, train: bool) -> jax.Array:
    x = x @ parameters["first"]["kernel"] + parameters["first"]["bias"]
    if train:
        x = (x - x.mean(axis=0)) / jnp.sqrt(x.var(axis=0) + 1e-5)
    return jnp.tanh(x) @ parameters["last"]["kernel"] + parameters["last"]["bias"]


def torch_port(**options: Any) -> Any:
    return bntorch.port(TorchNet(), loss=nn.functional.cross_entropy, **options)


def equinox_port(**options: Any) -> Any:
    return bnjax.port(*eqx.nn.make_with_state(EquinoxNet)(jax.random.key(0)), loss=jax_loss, **options)


def plain_port(**options: Any) -> Any:
    rng = np.random.default_rng(1)
    shapes = {"first": (5, 4), "last": (4, 3)}
    parameters = {n: {"kernel": rng.normal(size=shape), "bias": np.zeros(shape[1])} for n, shape in shapes.items()}
    return bnjax.port(plain, parameters, loss=jax_loss, **options)


PORTS: dict[str, Callable[..., Any]] = {
    "torch": torch_port,
    "linen": lambda **options: bnjax.port(LinenNet(), loss=jax_loss, **options),
    "nnx": lambda **options: bnjax.port(NnxNet(), loss=jax_loss, **options),
    "equinox": equinox_port,
    "plain": plain_port,
}
WITH_MODULES = [name for name in PORTS if name != "plain"]
