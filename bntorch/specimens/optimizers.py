"""A dense layer under optimizers of every convention: PyTorch's, and those of optax."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn, optim

import bntorch


def _clipped(parameters: Any) -> optim.Optimizer:
    made = optim.SGD(parameters, 0.1)
    made.register_step_pre_hook(lambda *_: clip(parameters))
    return made


def clip(parameters: Any) -> None:
    nn.utils.clip_grad_norm_(parameters, 50.0)


def _halved(parameters: Any) -> tuple[optim.Optimizer, optim.lr_scheduler.LRScheduler]:
    made = optim.SGD(parameters, 0.1, momentum=0.9)
    return made, optim.lr_scheduler.ExponentialLR(made, 0.5)


def _matrices_decay(parameters: Any) -> optim.Optimizer:
    decaying, others = ([p for p in parameters if (p.ndim > 1) is is_matrix] for is_matrix in (True, False))
    groups = [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return optim.AdamW(groups, 0.01)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "": lambda p: optim.Adam(p, 0.01),
    "learning_rate": lambda p: optim.SGD(p, 0.1),
    "optimizer_momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "nesterov_form": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "sgd_dampening": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.1),
    "missing_clip": lambda p: optim.SGD(p, 0.1),
    "clip_epsilon": _clipped,
    "missing_clip left out": _clipped,
    "schedule_offset ahead": _halved,
    "schedule_offset behind": _halved,
    "momentum_times_rate": _halved,
    "average_of_weights": lambda p: optim.Adam(p, 0.01),
    "weight_decay_mask": lambda p: optim.AdamW(p, 0.01, weight_decay=0.1),
    "weight_decay_mask all": _matrices_decay,
    "adam_epsilon root": lambda p: optim.Adam(p, 0.01),
    "adam_epsilon early": lambda p: optim.Adam(p, 0.01),
    "adam_debias": lambda p: optim.Adam(p, 0.01),
    "rmsprop_initial": lambda p: optim.RMSprop(p, 0.1, alpha=0.9),
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
