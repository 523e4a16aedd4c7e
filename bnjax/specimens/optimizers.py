"""A dense layer under optimizers of every convention: PyTorch's, and those of optax."""

from typing import Any

import flax.linen as fnn
import optax

import bnjax

from .losses import cross_entropy

OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "": optax.adam(0.01),
    "learning_rate": optax.sgd(0.11),
    "optimizer_momentum": optax.sgd(0.1, momentum=0.8),
    "nesterov_form": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "sgd_dampening": optax.sgd(0.1, momentum=0.9),
    "missing_clip": optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(0.1)),
    "optimizer_epsilon": optax.adam(0.01, eps=1e-6),
    "adam_betas": optax.adam(0.01, b2=0.99),
    "amsgrad": optax.adam(0.01),
    "nadam_schedule": optax.nadam(0.01),
    "weight_decay coupled": optax.adamw(0.01, weight_decay=0.1),
    "weight_decay": optax.adamw(0.01),
    "rmsprop_epsilon": optax.rmsprop(0.1, decay=0.9),
    "rmsprop_decay": optax.rmsprop(0.1, decay=0.9, eps_in_sqrt=False),
    "adagrad_defaults": optax.adagrad(0.1),
}


def port(fault: str = "") -> Any:
    return bnjax.port(fnn.Dense(3), loss=cross_entropy, optimizer=OPTIMIZERS[fault])
