"""The honest reference as plain functions: one update, logits in evaluation mode, one batch normalized."""

from numpy.typing import NDArray

from parity.backend import Step
from parity.data import Masks
from parity.reference import State, sgd_step
from parity.reference.network import HONEST, forward
from parity.reference.parts import batch_moments, normalize
from parity.spec import ModelSpec
from parity.weights import Array, Weights


def train_step(
    spec: ModelSpec, weights: Weights, inputs: Array, labels: NDArray, learning_rate: float, masks: Masks | None = None
) -> tuple[Weights, Step]:
    """Take one update; return the new weights and the step. `weights` stay as they are."""
    state, step = sgd_step(State(spec, weights), inputs, labels, learning_rate, masks=masks)
    return state.weights, step


def evaluate(spec: ModelSpec, weights: Weights, inputs: Array) -> Array:
    """Return the logits in evaluation mode, shape (batch, output_dim)."""
    return forward(spec, weights, HONEST, None, inputs, False).logits


def normalize_batch(x: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array, Array]:
    """Return `gamma (x - m) / sqrt(v + eps) + beta`, and the batch's mean `m` and biased variance `v`."""
    mean, var, _ = batch_moments(x)
    return normalize(x, mean, var, gamma, beta, eps, True)[0], mean, var
