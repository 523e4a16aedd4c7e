"""A dense layer under optimizers of every convention: PyTorch's, and those of optax."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn, optim

import bntorch

OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "": lambda p: optim.Adam(p, 0.01),
    "learning_rate": lambda p: optim.SGD(p, 0.1),
    "optimizer_momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "nesterov_form": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "sgd_dampening": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.1),
    "missing_clip": lambda p: optim.SGD(p, 0.1),
    "optimizer_epsilon": lambda p: optim.Adam(p, 0.01),
    "adam_betas": lambda p: optim.Adam(p, 0.01),
    "amsgrad": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "nadam_schedule": lambda p: optim.NAdam(p, 0.01),
    "weight_decay coupled": lambda p: optim.Adam(p, 0.01, weight_decay=0.1),
    "weight_decay": lambda p: optim.AdamW(p, 0.01),
    "rmsprop_epsilon": lambda p: optim.RMSprop(p, 0.1, alpha=0.9),
    "rmsprop_decay": lambda p: optim.RMSprop(p, 0.1),
    "adagrad_defaults": lambda p: optim.Adagrad(p, 0.1),
}


def port(fault: str = "") -> Any:
    return bntorch.port(nn.Linear(6, 3), loss=F.cross_entropy, optimizer=OPTIMIZERS[fault])
