"""The lab's network, in Flax."""

from dataclasses import asdict
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

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
        residual: whether a block adds its input to its output.
        param_dtype: of parameters and statistics.
        dtype: of activations and matrix products; None for the parameters'.
        parts: the formulas of the layers and of training.

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
    def from_spec(cls, spec: ModelSpec, dtype: DType = "float32", parts: Parts = HONEST) -> "MultiLayerPerceptron":
        """Return the network of a spec that computes in a working dtype."""
        fields = asdict(spec)
        fields.pop("initialization")  # the weights come from the neutral dictionary
        narrow = jnp.bfloat16 if dtype == "bfloat16" else None
        return cls(**fields, param_dtype=jnp.dtype(weights_dtype(dtype)), dtype=narrow, parts=parts)

    @property
    def spec(self) -> ModelSpec:
        """Return the spec of this network, and check the fields."""
        return ModelSpec(
            **{name: getattr(self, name) for name in ModelSpec.__dataclass_fields__ if name != "initialization"}
        )

    def __call__(
        self,
        x: Float[jax.Array, "batch input_dim"],
        train: bool = False,
        masks: Shaped[jax.Array, "num_hidden_layers batch hidden_width"] | None = None,
    ) -> Float[jax.Array, "batch output_dim"]:
        """Return the logits.

        In training, `masks` say which units dropout keeps; None keeps all. Evaluation keeps all.
        """
        return self.with_activations(x, train, masks)[0]

    @nn.compact
    def with_activations(
        self,
        x: Float[jax.Array, "batch input_dim"],
        train: bool = False,
        masks: Shaped[jax.Array, "num_hidden_layers batch hidden_width"] | None = None,
    ) -> tuple[Float[jax.Array, "batch output_dim"], dict[str, Float[jax.Array, "batch hidden_width"]]]:
        """Return the logits and the output of each part of each hidden layer.

        The names are those of `parity.weights.activation_names`.
        """
        shown: dict[str, jax.Array] = {}
        for i in range(self.num_hidden_layers):
            entering = x
            x = shown[f"hidden.{i}.linear"] = self._linear(self.hidden_width, f"linear_{i}")(x)
            if self.block_order == BlockOrder.ACTIVATION_FIRST:
                x = shown[f"hidden.{i}.relu"] = nn.relu(x)
            if self.use_batch_norm:
                x = shown[f"hidden.{i}.norm"] = self._norm(f"norm_{i}")(x, train)
            if self.block_order == BlockOrder.NORM_FIRST:
                x = shown[f"hidden.{i}.relu"] = nn.relu(x)
            if self.dropout_rate:
                kept = x if masks is None or not train else self.parts.dropout(x, masks[i], self.dropout_rate)
                x = shown[f"hidden.{i}.dropout"] = kept
            if self.residual and i > 0:
                x = shown[f"hidden.{i}.sum"] = entering + x
        logits = self._linear(self.output_dim, "head")(x)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), shown

    def _linear(self, out_features: int, name: str) -> Linear:
        return Linear(out_features, self.param_dtype, self.dtype, self.parts, name=name)

    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(self.eps, self.decay, self.running_variance, self.param_dtype, self.parts, name=name)
