"""The experiment in JAX/Flax: the lab's functions, with the state as an explicit value."""

from bnjax.backend import JaxBackend
from bnjax.layer_order import layer_names
from bnjax.linear import Linear
from bnjax.model import MultiLayerPerceptron
from bnjax.norm import BatchNorm
from bnjax.parts import Parts
from bnjax.population import Population
from bnjax.port import port
from bnjax.state import TrainState, state_from_variables
from bnjax.train import (
    Logs,
    compute_accuracy,
    compute_logs,
    compute_objective,
    create_train_state,
    minibatch_sgd_one_pass,
    sgd_step,
    train_step,
)
from bnjax.weights import from_native, to_native

__all__ = [
    "BatchNorm",
    "JaxBackend",
    "Linear",
    "Logs",
    "MultiLayerPerceptron",
    "Parts",
    "Population",
    "TrainState",
    "compute_accuracy",
    "compute_logs",
    "compute_objective",
    "create_train_state",
    "from_native",
    "layer_names",
    "minibatch_sgd_one_pass",
    "port",
    "sgd_step",
    "state_from_variables",
    "to_native",
    "train_step",
]
