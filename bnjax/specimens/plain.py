"""A plain JAX function with a dictionary of parameters, stored as (out, in), against stock PyTorch."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bnjax

from .losses import cross_entropy

SIZES = (6, 7, 7, 4)


def network(parameters: Any, x: jax.Array, fault: str = "") -> jax.Array:
    *hidden, last = parameters
    for number, layer in enumerate(hidden):
        x = x @ layer["w"].T + layer["b"]
        x = jax.nn.relu(x) if fault == "activation" and number == 1 else jnp.tanh(x)
    return x @ last["w"].T + (0 if fault == "missing_bias" else last["b"])


def port(fault: str = "") -> Any:
    rng = np.random.default_rng(1)
    parameters = [{"w": rng.normal(size=(after, before)), "b": np.zeros(after)} for before, after in pairwise(SIZES)]

    def call(function: Any, batch: Any, train: bool) -> jax.Array:
        return function(batch["x"], fault=fault)

    return bnjax.port(network, parameters, loss=cross_entropy, call=call)
