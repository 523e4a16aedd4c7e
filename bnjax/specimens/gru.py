"""A GRU whose output is read by the table that embeds its words; PyTorch's, and a plain function that scans."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bnjax

from .losses import cross_entropy

WORDS, WIDTH = 9, 6
SHAPES = {
    "table": (WORDS, WIDTH), "wi": (WIDTH, 3 * WIDTH), "wh": (WIDTH, 3 * WIDTH), "bi": (3 * WIDTH,), "bh": (3 * WIDTH,),
}  # fmt: skip


def network(p: Any, ids: jax.Array, fault: str) -> jax.Array:
    table, order = p["table"], "zrn" if fault == "gate_order" else "rzn"
    start = jnp.zeros((len(ids), WIDTH))
    wh, bh = (dict(zip(order, jnp.split(p[name], 3, -1), strict=True)) for name in ("wh", "bh"))

    def step(h: jax.Array, x: jax.Array) -> Any:
        of_input = dict(zip(order, jnp.split(x @ p["wi"] + p["bi"], 3, -1), strict=True))
        r, z = (jax.nn.sigmoid(of_input[gate] + h @ wh[gate] + bh[gate]) for gate in "rz")
        of_state = r * (h @ wh["n"] + bh["n"])
        if fault == "recurrent_biases reset":
            of_state = (r * h) @ wh["n"] + bh["n"]
        elif fault == "recurrent_biases outside":
            of_state = r * (h @ wh["n"]) + bh["n"]
        h = (1 - z) * jnp.tanh(of_input["n"] + of_state) + z * h
        return h, h

    x = table[ids].swapaxes(0, 1)
    _, seen = jax.lax.scan(step, start, x, reverse=fault == "sequence_direction")
    table = jax.lax.stop_gradient(table) if fault == "tied_weights" else table
    return seen.swapaxes(0, 1) @ table.T


def port(fault: str = "") -> Any:
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}

    def call(function: Any, batch: Any, train: bool) -> jax.Array:
        return function(batch["ids"], fault)

    return bnjax.port(network, parameters, loss=cross_entropy, call=call)
