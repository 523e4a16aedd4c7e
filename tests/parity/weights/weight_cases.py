"""The network of these tests, what is said of bad input, and how far rounding moves logits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights import Weights

SPEC = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=2, hidden_width=4)
NORM = ("gamma", "beta", "running_mean", "running_var")


def refusal(function: Callable[..., object], *arguments: Any, **keywords: Any) -> str:
    """What is said of bad input, in one line."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rounding_limit(weights: Weights, spec: ModelSpec, inputs: np.ndarray) -> np.ndarray:
    """How far two float64 evaluations of the same logits can lie apart, by first-order error analysis.

    A sum of n products is off by at most n u (|x| @ |kernel|) in whatever order it is added (Higham, 2002, section
    3.1), with u the unit roundoff. A normalization takes no more than 8 operations on terms of size
    |scale| (|x| + |mean|) and |beta|. Earlier errors pass on through |kernel| and |scale|; ReLU does not raise them.
    Both sides err, so the distance is at most twice that.
    """
    u = np.finfo(np.float64).eps / 2
    x, error = inputs, np.zeros_like(inputs)
    for layer in [f"hidden.{i}" for i in range(spec.num_hidden_layers)] + ["head"]:
        kernel, bias = weights[f"{layer}.kernel"], weights[f"{layer}.bias"]
        terms = np.abs(x) @ np.abs(kernel) + np.abs(bias)
        x, error = x @ kernel + bias, error @ np.abs(kernel) + (len(kernel) + 1) * u * terms
        if layer == "head":
            break
        x = np.maximum(x, 0)
        if spec.use_batch_norm:
            gamma, beta, mean, var = (weights[f"{layer}.{leaf}"] for leaf in NORM)
            scale = np.abs(gamma) / np.sqrt(var + spec.eps)
            error = scale * error + 8 * u * (scale * (np.abs(x) + np.abs(mean)) + np.abs(beta))
            x = gamma * (x - mean) / np.sqrt(var + spec.eps) + beta
    return 2 * error
