"""An Equinox CNN with its state, written for one sample; padding and an average that counts it or not."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import bnjax

from .losses import cross_entropy


class UncountedPool(eqx.nn.AvgPool2d):
    """An average that does not count its padding."""

    def __call__(self, x: jax.Array, *, key: Any = None) -> jax.Array:
        return super().__call__(x) / super().__call__(jnp.ones((1, *x.shape[1:])))


class EquinoxNet(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    pool: eqx.nn.AvgPool2d
    head: eqx.nn.Linear
    fault: str = eqx.field(static=True)

    def __init__(self, key: jax.Array, fault: str) -> None:
        mode: Any = "ema" if fault == "averaged_statistics" else "batch"
        self.conv = eqx.nn.Conv2d(2, 4, 3, padding=1, key=key)
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", mode=mode, momentum=0.9)
        pool: Any = UncountedPool if fault == "pool_padding" else eqx.nn.AvgPool2d
        self.pool, self.head = pool(3, 2, padding=1), eqx.nn.Linear(4 * 9, 3, key=key)
        self.fault = fault

    def __call__(self, x: jax.Array, state: eqx.nn.State) -> tuple[jax.Array, eqx.nn.State]:
        x, state = self.norm(self.conv(x), state)
        x = self.pool(jax.nn.leaky_relu(x) if self.fault == "activation" else jax.nn.elu(x))
        x = jnp.moveaxis(x, 0, -1) if self.fault == "flatten_order" else x
        return self.head(x.reshape(-1)), state


def port(fault: str = "") -> Any:
    model, state = eqx.nn.make_with_state(EquinoxNet)(jax.random.key(0), fault)
    return bnjax.port(model, state, loss=cross_entropy)
