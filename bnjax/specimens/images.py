"""Branches of a convolution and a function of images, each in a convention of its own; PyTorch, and NNX."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from jax.nn import elu, gelu, silu, softmax

import bnjax

from .losses import cross_entropy

SIZE = 8  # of the images
Function = Callable[[jax.Array], jax.Array]
PADDING: Any = ((1, 1), (1, 1))


def _resize(size: int, method: str = "bilinear", antialias: bool = False) -> Function:
    return lambda x: jax.image.resize(x, (x.shape[0], size, size, x.shape[3]), method, antialias)


def _corners(x: jax.Array) -> jax.Array:
    """Resize to 7 by 7 so that the corners stay where they are."""
    places = jnp.linspace(0, SIZE - 1, 7)
    every = jnp.stack(jnp.meshgrid(places, places, indexing="ij"))
    of_channel = partial(jax.scipy.ndimage.map_coordinates, coordinates=list(every), order=1)
    return jax.vmap(jax.vmap(of_channel, -1, -1))(x)


def _deviation(x: jax.Array, ddof: int) -> jax.Array:
    return x.std((1, 2), ddof=ddof, keepdims=True)


def _zeros_around(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), *PADDING, (0, 0)))


def _masked(x: jax.Array, value: float, is_kept: bool = False) -> jax.Array:
    return jnp.where((jnp.arange(SIZE)[:, None] < 3) == is_kept, x, value)


def _joined(x: jax.Array, order: int, functions: int = 1) -> jax.Array:
    first, second = (silu, jnp.tanh)[::functions]
    return jnp.concatenate([first(x[..., :2]), second(x[..., 2:])][::order], -1)


def _turned(x: jax.Array) -> jax.Array:
    return jnp.concatenate([silu(x[..., 2:]), jnp.tanh(x[..., :2])], -1)


def _gated(x: jax.Array, passed: Function = lambda gate: gate) -> jax.Array:
    return x * passed(jax.nn.sigmoid(x.mean(-1, keepdims=True)))


def _middle(x: jax.Array, method: Any) -> jax.Array:
    return x - jnp.quantile(x, 0.5, axis=(1, 2), keepdims=True, method=method)


def _window(x: jax.Array, width: int) -> jax.Array:
    """Softmax over the last positions along the width; channels are last."""
    gap = jnp.arange(SIZE)[:, None] - jnp.arange(SIZE)
    mask = jnp.where((gap >= 0) & (gap < width), 0.0, -jnp.inf)
    return x * softmax(x + mask[:, :, None], 2)


def _at_zero(x: jax.Array, relu: Function) -> jax.Array:
    zero = jnp.where(jnp.arange(SIZE)[:, None] < 3, jax.lax.stop_gradient(x), 0.0)
    return x + relu(x - zero)


def _tied(x: jax.Array) -> jax.Array:
    """Two rows are 0, and the others less; channels stay last."""
    zero = x - jax.lax.stop_gradient(x)
    return jnp.where(jnp.arange(SIZE)[:, None, None] < 2, zero, x - 9).reshape(len(x), -1, x.shape[-1])


def _first_of(x: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, jnp.argmax(x, 1, keepdims=True), 1)


# By fault: the function of (samples, height, width, channels) as it should be, and as it is with the fault.
FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "gelu_form": (partial(gelu, approximate=False), partial(gelu, approximate=True)),
    "activation_slope": (partial(elu, alpha=0.5), elu),
    "other_activation": (jax.nn.relu, silu),
    "missing_module": (silu, lambda x: x),
    "softmax_axis": (lambda x: 4 * softmax(x, -1), lambda x: 4 * softmax(x, 1)),
    "attention_scale": (lambda x: 4 * softmax(x / 2), lambda x: 4 * softmax(x / 3)),
    "standard_deviation": (
        partial(jnp.std, axis=(1, 2), ddof=1, keepdims=True),
        lambda x: x.std((1, 2), keepdims=True),
    ),
    "pool_kind": (lambda x: linen.max_pool(x, (2, 2), (2, 2)), lambda x: linen.avg_pool(x, (2, 2), (2, 2))),
    "pool_padding": (
        lambda x: linen.avg_pool(x, (3, 3), (2, 2), PADDING),
        lambda x: linen.avg_pool(x, (3, 3), (2, 2), PADDING, count_include_pad=False),
    ),
    "pool_padding maximum": (
        lambda x: linen.max_pool(x - 3, (3, 3), (2, 2), PADDING),
        lambda x: linen.max_pool(_zeros_around(x - 3), (3, 3), (2, 2)),
    ),
    "resize_kernel": (_resize(7), _resize(7, "nearest")),
    "align_corners": (_corners, _resize(7)),
    "resize_antialias": (_resize(3), _resize(3, antialias=True)),
    "missing_residual": (lambda x: x + silu(x), silu),
    "stopped_gradient": (_gated, lambda x: _gated(x, jax.lax.stop_gradient)),
    "missing_scale": (lambda x: x * 0.5, lambda x: x),
    "extra_scale": (partial(jnp.max, axis=(1, 2), keepdims=True), lambda x: 3 * x.max((1, 2), keepdims=True)),
    "mask_polarity": (partial(_masked, value=0.0), partial(_masked, value=0.0, is_kept=True)),
    "mask_constant": (lambda x: _masked(x, -1e4) / 1e4, lambda x: _masked(x, -1e9) / 1e4),
    "sliding_window": (partial(_window, width=3), partial(_window, width=4)),
    "relu_at_zero": (
        partial(_at_zero, relu=jax.nn.relu),
        partial(_at_zero, relu=lambda x: jnp.maximum(x, 0)),
    ),
    "median_rule": (partial(_middle, method="lower"), partial(_middle, method="linear")),
    "tie_rule": (
        lambda x: _tied(x).max(1, keepdims=True)[:, None],
        lambda x: _first_of(_tied(x))[:, None],
    ),
    "concatenation_order": (partial(_joined, order=1), partial(_joined, order=-1)),
    "qkv_order": (partial(_joined, order=1), _turned),
}


class NnxBranch(nnx.Module):
    def __init__(self, function: Function, rngs: nnx.Rngs) -> None:
        self.conv, self.head = nnx.Conv(3, 4, (3, 3), padding=1, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.function = function

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.function(self.conv(x)).mean((1, 2)))


class NnxNet(nnx.Module):
    """With a fault its branch alone, since one that is honest agrees beside any other."""

    def __init__(self, fault: str) -> None:
        functions = [FUNCTIONS[fault][1]] if fault else [honest for honest, _ in FUNCTIONS.values()]
        self.branches = nnx.List([NnxBranch(function, nnx.Rngs(0)) for function in functions])

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.stack([branch(x) for branch in self.branches]).mean(0)


def port(fault: str = "") -> Any:
    return bnjax.port(NnxNet(fault), loss=cross_entropy)
