"""The lab's network, in Flax."""

from dataclasses import asdict
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnjax.linear import Linear
from bnjax.norm import BatchNorm
from bnjax.parts import HONEST, Parts
from bnjax.weights import weights_dtype
from parity.spec import BlockOrder, DType, ModelSpec, RunningVariance


class MultiLayerPerceptron(nn.Module):
    """A multilayer perceptron: hidden blocks of Linear, ReLU and batch norm, then a linear head.

    The formulas are those of `parity.spec.ModelSpec`. The state is explicit: parameters under "params", running
    statistics under "batch_stats", and these change only where training asks for it with `mutable=["batch_stats"]`.

    Args:
        input_dim: number of input features.
        output_dim: number of classes.
        num_hidden_layers: depth, 1 or more.
        hidden_width: units in each hidden layer.
        use_batch_norm: whether the blocks have batch norm.
        eps, decay, running_variance, block_order: the conventions of `ModelSpec`.
        dropout_rate: the chance that training drops a unit at the end of a block.
        residual: whether a block adds its input to what it gives.
        param_dtype: of parameters and statistics.
        dtype: of activations and matrix products; None for the parameters'.
        parts: what the layers compute by, and training after them.

    >>> model = MultiLayerPerceptron(784, 10, 3, 64, True)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 784)))
    >>> model.apply(variables, jnp.zeros((5, 784))).shape
    (5, 10)
    """

    input_dim: int
    output_dim: int
    num_hidden_layers: int
    hidden_width: int
    use_batch_norm: bool
    eps: float = 1e-5
    decay: float = 0.9
    running_variance: RunningVariance = RunningVariance.UNBIASED
    block_order: BlockOrder = BlockOrder.ACTIVATION_FIRST
    dropout_rate: float = 0.0
    residual: bool = False
    param_dtype: Any = jnp.float32
    dtype: Any = None
    parts: Parts = HONEST

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.spec  # checks the fields

    @classmethod
    def from_spec(cls, spec: ModelSpec, dtype: DType = "float32", parts: Parts = HONEST) -> Self:
        """The network of a spec, computing in a working dtype."""
        fields = asdict(spec)
        fields.pop("initialization")  # of the weights, which come from the neutral dictionary
        narrow = jnp.bfloat16 if dtype == "bfloat16" else None
        return cls(**fields, param_dtype=jnp.dtype(weights_dtype(dtype)), dtype=narrow, parts=parts)

    @property
    def spec(self) -> ModelSpec:
        """The spec of this network; checks the fields."""
        return ModelSpec(
            **{name: getattr(self, name) for name in ModelSpec.__dataclass_fields__ if name != "initialization"}
        )

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, masks: jax.Array | None = None) -> jax.Array:
        """Logits, shape (batch, output_dim), for `x` of shape (batch, input_dim).

        In training, `masks` of shape (num_hidden_layers, batch, hidden_width) say which units dropout keeps; None keeps
        all. Evaluation keeps all.

        What each part of each layer gives goes to the collection "intermediates", for callers who ask for it.
        """
        for i in range(self.num_hidden_layers):
            entering = x
            x = self._record(f"hidden.{i}.linear", self._linear(self.hidden_width, f"linear_{i}")(x))
            if self.block_order == BlockOrder.ACTIVATION_FIRST:
                x = self._record(f"hidden.{i}.relu", nn.relu(x))
            if self.use_batch_norm:
                x = self._record(f"hidden.{i}.norm", self._norm(f"norm_{i}")(x, train))
            if self.block_order == BlockOrder.NORM_FIRST:
                x = self._record(f"hidden.{i}.relu", nn.relu(x))
            if self.dropout_rate:
                kept = x if masks is None or not train else self.parts.dropout(x, masks[i], self.dropout_rate)
                x = self._record(f"hidden.{i}.dropout", kept)
            if self.residual and i > 0:
                x = self._record(f"hidden.{i}.sum", entering + x)
        logits = self._linear(self.output_dim, "head")(x)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def _linear(self, out_features: int, name: str) -> Linear:
        return Linear(out_features, self.param_dtype, self.dtype, self.parts, name=name)

    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(self.eps, self.decay, self.running_variance, self.param_dtype, self.parts, name=name)

    def _record(self, name: str, value: jax.Array) -> jax.Array:
        self.sow("intermediates", name, value, init_fn=lambda: value, reduce_fn=lambda _, new: new)
        return value
