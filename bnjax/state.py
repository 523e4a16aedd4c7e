"""The state of training in Flax: one immutable value."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from bnjax.model import MultiLayerPerceptron


@struct.dataclass
class TrainState:
    """A network and all that training changes, as one immutable value.

    Args:
        model: the module; static, so that equal models share compiled programs.
        params: what the gradient updates.
        batch_stats: running statistics; empty without batch norm.
        opt_state: the optimizer's own; nothing for plain SGD.
    """

    model: MultiLayerPerceptron = struct.field(pytree_node=False)
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def state_from_variables(model: MultiLayerPerceptron, variables: dict[str, Any]) -> TrainState:
    """Return the network at a copy of given variables, with a fresh optimizer. Training donates its memory."""
    variables = jax.tree.map(jnp.array, variables)
    opt_state = model.parts.optimizer(0.0).init(variables["params"])
    return TrainState(model, variables["params"], variables.get("batch_stats", {}), opt_state)
