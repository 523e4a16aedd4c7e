"""A causal decoder whose output is tied to its embedding, with its own q, k and v: PyTorch, and NNX."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import bnjax

from .losses import cross_entropy

WIDTH, HEADS, WORDS, LENGTH = 12, 2, 19, 6


class NnxLayer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, fault: str) -> None:
        self.fault = fault
        self.q, self.k, self.v, self.out = (nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(4))
        self.ln1, self.ln2 = (nnx.LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs) for _ in range(2))
        self.up, self.down = nnx.Linear(WIDTH, 16, rngs=rngs), nnx.Linear(16, WIDTH, rngs=rngs)

    def split(self, x: jax.Array) -> jax.Array:
        if self.fault == "head_axes":
            return x.reshape(*x.shape[:2], -1, HEADS).swapaxes(2, 3)
        return x.reshape(*x.shape[:2], HEADS, -1)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.ln1(x)
        q, k, v = (self.split(each(y)) for each in (self.q, self.k, self.v))
        if self.fault == "exchanged":
            q, k = k, q
        size = q.shape[-1] if self.fault == "attention_scale" else q.shape[-1] ** 0.5
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / size
        causal = jnp.tril(jnp.ones((LENGTH, LENGTH), bool), 1 if self.fault == "causal_offset" else 0)
        axis = -2 if self.fault == "softmax_axis" else -1
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis)
        heads = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        heads = heads.swapaxes(2, 3) if self.fault == "head_axes" else heads
        x = x + self.out(heads.reshape(y.shape))
        return x + self.down(jax.nn.silu(self.up(self.ln2(x))))


class NnxNet(nnx.Module):
    def __init__(self, fault: str) -> None:
        rngs = nnx.Rngs(0)
        self.fault = fault
        self.embed = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.places = nnx.Embed(LENGTH + 1, WIDTH, rngs=rngs)
        self.layers = nnx.List([NnxLayer(rngs, fault if layer == 1 else "") for layer in range(2)])
        self.ln = nnx.LayerNorm(WIDTH, epsilon=1e-5, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids) + self.places(jnp.arange(LENGTH) + (1 if self.fault == "position_offset" else 0))
        for layer in self.layers:
            x = layer(x)
        x = self.ln(x)
        table = self.embed.embedding[...]
        return x @ (jax.lax.stop_gradient(table) if self.fault == "untied" else table).T


def port(fault: str = "") -> Any:
    return bnjax.port(NnxNet(fault), loss=cross_entropy)
