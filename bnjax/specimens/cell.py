"""An LSTM step by step, its cell called for each word; PyTorch, and a plain function that scans."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bnjax

from .losses import cross_entropy

WORDS, WIDTH, STATE = 9, 5, 6
SHAPES = {
    "emb": (WORDS, WIDTH), "h0": (STATE,), "wi": (WIDTH, 4 * STATE), "wh": (STATE, 4 * STATE), "b": (4 * STATE,),
    "b2": (4 * STATE,), "w": (STATE, WORDS), "out": (WORDS,),
}  # fmt: skip


def network(p: Any, ids: jax.Array, order: str, forget: float) -> jax.Array:
    x = p["emb"][ids]
    start = jnp.broadcast_to(p["h0"], (len(x), STATE))

    def step(state: Any, x: jax.Array) -> Any:
        h, c = state
        gate = dict(zip(order, jnp.split(x @ p["wi"] + h @ p["wh"] + p["b"] + p["b2"], 4, -1), strict=True))
        c = jax.nn.sigmoid(gate["f"] + forget) * c + jax.nn.sigmoid(gate["i"]) * jnp.tanh(gate["g"])
        h = jax.nn.sigmoid(gate["o"]) * jnp.tanh(c)
        return (h, c), h

    _, seen = jax.lax.scan(step, (start, jnp.zeros_like(start)), x.swapaxes(0, 1))
    return seen.swapaxes(0, 1) @ p["w"] + p["out"]


def port(fault: str = "") -> Any:
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    order = "igfo" if fault == "gate_order" else "ifgo"

    def call(function: Any, batch: Any, train: bool) -> jax.Array:
        return function(batch["ids"], order, 1.0 if fault == "recurrent_biases" else 0.0)

    return bnjax.port(network, parameters, loss=cross_entropy, call=call)
