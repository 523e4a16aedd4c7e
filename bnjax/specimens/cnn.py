"""A small CNN: convolutions, batch norm, max-pool, flatten, a linear head; PyTorch, and linen with channels last."""

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import optax

import bnjax

from .losses import cross_entropy
from .optimizers import OPTIMIZERS

MODES = {"statistics_never_used": False, "statistics_always_used": True}  # whatever the mode is


class Sharded(fnn.BatchNorm):
    """Each half of a batch has statistics of its own; of those that are kept the mean is taken."""

    @fnn.compact
    def __call__(self, x: jax.Array, **options: Any) -> jax.Array:  # type: ignore[override]
        if self.use_running_average or self.is_initializing():
            return super().__call__(x, **options)
        kept = dict(self.variables["batch_stats"])
        outputs, new = [], []
        for shard in jnp.split(x, 2):
            for name, value in kept.items():
                self.put_variable("batch_stats", name, value)
            outputs.append(super().__call__(shard, **options))
            new.append(dict(self.variables["batch_stats"]))
        for name in kept:
            self.put_variable("batch_stats", name, (new[0][name] + new[1][name]) / 2)
        return jnp.concatenate(outputs)


class Debiased(fnn.BatchNorm):
    """In evaluation the averages are divided by what those that begin at 0 lack to 1 after three batches."""

    @fnn.compact
    def __call__(self, x: jax.Array, **options: Any) -> jax.Array:  # type: ignore[override]
        if not self.use_running_average:
            return super().__call__(x, **options)
        kept = dict(self.variables["batch_stats"])
        scale, shift = (self.variables["params"][name] for name in ("scale", "bias"))
        mean, variance = (kept[name] / (1 - 0.9**3) for name in ("mean", "var"))
        return (x - mean) * jax.lax.rsqrt(variance + self.epsilon) * scale + shift


NORMS: dict[str, type[fnn.BatchNorm]] = {"per_shard_statistics": Sharded, "debiased_statistics": Debiased}


class FlaxNet(fnn.Module):
    fault: str = ""

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for width in (6, 8):
            x = fnn.Conv(width, (3, 3), use_bias=not (self.fault == "missing_bias" and width == 8))(x)
            eps = 1e-3 if self.fault == "norm_epsilon" and width == 8 else 1e-5
            mode = MODES.get(self.fault, not train) if width == 8 else not train
            norm = NORMS.get(self.fault, fnn.BatchNorm) if width == 8 else fnn.BatchNorm
            x = norm(
                use_running_average=mode,
                momentum=0.99 if self.fault == "default_momentum" and width == 6 else 0.9,
                epsilon=eps,
                name=f"BatchNorm_{int(width == 8)}",
            )(x)
            if not (self.fault == "missing_relu" and width == 6):
                x = fnn.relu(x)
            x = (fnn.avg_pool if self.fault == "pool" and width == 6 else fnn.max_pool)(x, (2, 2), (2, 2))
        if self.fault != "flatten_order":
            x = jnp.moveaxis(x, -1, 1)
        return fnn.Dense(5)(x.reshape(len(x), -1))


def port(fault: str = "") -> Any:
    return bnjax.port(FlaxNet(fault), loss=cross_entropy, optimizer=OPTIMIZERS.get(fault, optax.sgd(0.1, momentum=0.9)))
