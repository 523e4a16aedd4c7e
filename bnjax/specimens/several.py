"""Several inputs and outputs, dictionaries, a keyword argument, whole numbers, and dropout."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp

import bnjax


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, features: dict[str, jax.Array], *, scale: jax.Array, deterministic: bool) -> dict[str, Any]:
        x = fnn.Embed(9, 6)(features["word"]) + fnn.Dense(6)(features["numbers"])
        x = fnn.Dropout(0.5, deterministic=deterministic)(fnn.softplus(x))
        value = fnn.Dense(1)(x)
        return {"value": value if self.fault == "missing_scale" else value * scale, "logits": fnn.Dense(3)(x)}


def port(fault: str = "") -> Any:
    def loss(outputs: dict[str, jax.Array], labels: jax.Array) -> jax.Array:
        picked = jnp.take_along_axis(jax.nn.log_softmax(outputs["logits"]), labels[:, None], 1)
        square = outputs["value"] ** 2
        return -picked.mean() + (square.sum() if fault == "loss_reduction" else square.mean())

    return bnjax.port(FlaxNet(fault), loss=loss)
