"""The experiment in PyTorch: the lab's functions, with the module as the state."""

from bntorch.backend import TorchBackend
from bntorch.layer_order import layer_names
from bntorch.linear import Linear
from bntorch.model import MultiLayerPerceptron
from bntorch.norm import BatchNorm
from bntorch.parts import Parts
from bntorch.population import Population
from bntorch.port import port
from bntorch.train import (
    Logs,
    compute_accuracy,
    compute_logs,
    compute_objective,
    create_train_state,
    minibatch_sgd_one_pass,
    sgd_step,
    train_step,
)
from bntorch.weights import from_native, to_native

__all__ = [
    "BatchNorm",
    "Linear",
    "Logs",
    "MultiLayerPerceptron",
    "Parts",
    "Population",
    "TorchBackend",
    "compute_accuracy",
    "compute_logs",
    "compute_objective",
    "create_train_state",
    "from_native",
    "layer_names",
    "minibatch_sgd_one_pass",
    "port",
    "sgd_step",
    "to_native",
    "train_step",
]
