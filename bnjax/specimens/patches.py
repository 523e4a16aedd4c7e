"""A small vision transformer, whose table of places is resized to the image: PyTorch, and linen."""

from functools import partial
from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp

import bnjax

from .losses import cross_entropy

WIDTH, HEADS, PLACES, SIZE = 8, 2, 6, 4  # places along each side of the table, and of the image


def resized(table: jax.Array, fault: str) -> jax.Array:
    """Resize a table (places, places, width) to the image."""
    if fault == "align_corners":
        at = jnp.linspace(0, PLACES - 1, SIZE)
        every = list(jnp.stack(jnp.meshgrid(at, at, indexing="ij")))
        of_channel = partial(jax.scipy.ndimage.map_coordinates, coordinates=every, order=1)
        return jax.vmap(of_channel, -1, -1)(table)
    method = "nearest" if fault == "resize_kernel" else "bilinear"
    return jax.image.resize(table, (SIZE, SIZE, WIDTH), method, antialias=fault == "resize_antialias")


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = fnn.Conv(WIDTH, (2, 2), (2, 2), "VALID", name="patch")(x)
        table = self.param("places", fnn.initializers.normal(), (PLACES, PLACES, WIDTH))
        x = (x + resized(table, self.fault)).reshape(len(x), -1, WIDTH)
        y = fnn.Dense(3 * WIDTH, name="qkv")(fnn.LayerNorm(epsilon=1e-5, name="norm1")(x))
        if self.fault == "head_axes":
            y = y.reshape(*y.shape[:2], HEADS, 3, -1).swapaxes(2, 3)
        else:
            y = y.reshape(*y.shape[:2], 3, HEADS, -1)
        q, k, v = (y[:, :, each] for each in ((1, 0, 2) if self.fault == "qkv_order" else range(3)))
        y = fnn.dot_product_attention(q, k, v).reshape(x.shape)
        x = x + fnn.Dense(WIDTH, name="proj")(y)
        return fnn.Dense(3, name="head")(fnn.LayerNorm(epsilon=1e-5, name="norm2")(x).mean(1))


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy)
