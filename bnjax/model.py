"""The lab's network, in Flax."""

from dataclasses import asdict
from typing import Any, Self

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnjax.norm import BatchNorm
from parity.spec import BlockOrder, ModelSpec, RunningVariance


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
        param_dtype: of parameters and statistics.

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
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.spec  # checks the fields

    @classmethod
    def from_spec(cls, spec: ModelSpec, dtype: str = "float32") -> Self:
        """The network of a spec."""
        fields = asdict(spec)
        fields.pop("initialization")  # of the weights, which come from the neutral dictionary
        return cls(**fields, param_dtype=jnp.dtype(dtype))

    @property
    def spec(self) -> ModelSpec:
        """The spec of this network; checks the fields."""
        return ModelSpec(
            **{name: getattr(self, name) for name in ModelSpec.__dataclass_fields__ if name != "initialization"}
        )

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits, shape (batch, output_dim), for `x` of shape (batch, input_dim)."""
        for i in range(self.num_hidden_layers):
            x = self._linear(self.input_dim if i == 0 else self.hidden_width, self.hidden_width, f"linear_{i}")(x)
            if self.block_order == BlockOrder.ACTIVATION_FIRST:
                x = nn.relu(x)
            if self.use_batch_norm:
                x = self._norm(f"norm_{i}")(x, train)
            if self.block_order == BlockOrder.NORM_FIRST:
                x = nn.relu(x)
        return self._linear(self.hidden_width, self.output_dim, "head")(x)

    def _linear(self, fan_in: int, fan_out: int, name: str) -> nn.Dense:
        def uniform_fan_in(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -1, 1) / fan_in**0.5

        return nn.Dense(
            fan_out, kernel_init=uniform_fan_in, bias_init=uniform_fan_in, param_dtype=self.param_dtype, name=name
        )

    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(self.eps, self.decay, self.running_variance, self.param_dtype, name=name)
