"""One network, stepped from outside."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from parity.weights import Array, Weights


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one SGD update showed, in train mode and before the update.

    Args:
        loss: mean cross entropy of the batch, in nats.
        logits: shape (batch, output_dim).
        gradients: of the loss, by neutral name, for every tensor that is not a running statistic.
        activations: the output of each part of each hidden layer, shape (batch, hidden_width), by the names of
            `parity.weights.activation_names`. None if the backend does not show them.
    """

    loss: float
    logits: Array
    gradients: Weights
    activations: Weights | None = None


class Learner(Protocol):
    """One network and its state. Subclass it to get the defaults.

    If the network has dropout, `train_step` also gets its `masks` (`parity.data.draw_masks`). A port without dropout
    need not take them.
    """

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Step:
        """Take one SGD update in train mode: `inputs` of shape (batch, input_dim), `labels` of shape (batch,)."""
        ...

    def evaluate(self, inputs: Array) -> Array:
        """Return the logits in evaluation mode, shape (batch, output_dim). The state stays as it is."""
        ...

    def weights(self) -> Weights:
        """Return the state: every weight and running statistic, by neutral name."""
        ...

    def activations(self, inputs: Array) -> Weights | None:
        """Return the output of each part of each hidden layer in evaluation mode. The state stays as it is.

        The names are those of `parity.weights.activation_names`; None if the backend does not show them.
        """
        return None


def as_learner(learner: Any) -> Learner:
    """Return `learner` with the defaults of `Learner` for what it lacks."""
    return learner if hasattr(learner, "activations") else cast(Learner, _AdaptedLearner(learner))


class _AdaptedLearner:
    """A learner that shows no activations."""

    def __init__(self, learner: Any) -> None:
        self._learner = learner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # `copy` asks before there is a learner
            raise AttributeError(name)
        return getattr(self._learner, name)

    def activations(self, inputs: Array) -> None:
        """Show none."""
