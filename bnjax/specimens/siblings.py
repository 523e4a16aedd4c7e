"""The project's own network in both frameworks: its conventions are one, so nothing has to be accepted."""

from typing import Any

import bnjax
import bnjax.model

from .losses import cross_entropy

SIZES = (9, 5, 3, 8, True)


def port(fault: str = "") -> Any:
    eps = 1.1e-5 if fault == "norm_epsilon" else 1e-5
    return bnjax.port(bnjax.model.MultiLayerPerceptron(*SIZES, eps=eps), loss=cross_entropy)
