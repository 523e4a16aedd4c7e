"""A small convolutional network in Flax, beside itself."""

from typing import Any

import parity

inputs = {"x": parity.normal(16, 8, 8, 3), "labels": parity.integers(16, below=3)}


def reference() -> Any:
    import flax.linen as fnn
    import jax
    import optax

    import bnjax

    class Net(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array, train: bool) -> jax.Array:
            x = fnn.BatchNorm(use_running_average=not train, momentum=0.9)(fnn.Conv(64, (3, 3))(x))
            return fnn.Dense(3)(fnn.relu(x).reshape(len(x), -1))

    loss = lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()  # noqa: E731
    return bnjax.port(Net(), loss=loss, optimizer=optax.adam(1e-3))


candidate = reference
