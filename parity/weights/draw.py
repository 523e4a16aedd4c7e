"""The initial weights of a trial."""

import numpy as np

from parity.spec import Initialization, ModelSpec, child_seeds
from parity.weights.names import Array, Weights, weight_shapes


def draw_weights(spec: ModelSpec, seed: int) -> Weights:
    """Draw the initial weights of a trial.

    Drawn in float64 and rounded once to float32, so that every dtype starts at the same point. With `b = 1 /
    sqrt(fan_in)`::

        uniform_fan_in   kernel, bias ~ U(-b, b)           torch.nn.Linear's default
        he_normal        kernel ~ N(0, 2 / fan_in)         bias 0; He et al., 2015
        lecun_normal     kernel ~ N(0, 1 / fan_in)         bias 0; LeCun et al., 1998
        orthogonal       kernel.T @ kernel = I, or kernel @ kernel.T = I where it is wide
                                                           bias 0; Saxe et al., 2014

    and gamma 1, beta 0, running mean 0, running variance 1.

    Args:
        spec: the network.
        seed: the trial's seed; the weights come from its first child.

    Returns:
        float32 arrays by neutral name.

    >>> draw_weights(ModelSpec(), seed=0)["hidden.0.kernel"].shape
    (784, 64)
    """
    rng = np.random.default_rng(child_seeds(seed).weights)
    constant = {"gamma": 1.0, "beta": 0.0, "running_mean": 0.0, "running_var": 1.0}
    weights: Weights = {}
    fan_in = spec.input_dim
    for name, shape in weight_shapes(spec).items():
        leaf = name.rpartition(".")[2]
        if leaf == "kernel":
            fan_in = shape[0]
            value = _draw_kernel(rng, shape, spec.initialization)
        elif leaf == "bias" and spec.initialization is Initialization.UNIFORM_FAN_IN:
            value = rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
        else:
            value = np.full(shape, constant.get(leaf, 0.0))
        weights[name] = value.astype(np.float32)
    return weights


def _draw_kernel(rng: np.random.Generator, shape: tuple[int, ...], scheme: Initialization) -> Array:
    fan_in, fan_out = shape
    match scheme:
        case Initialization.UNIFORM_FAN_IN:
            return rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
        case Initialization.HE_NORMAL:
            return rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        case Initialization.LECUN_NORMAL:
            return rng.standard_normal(shape) / np.sqrt(fan_in)
        case Initialization.ORTHOGONAL:
            tall = rng.standard_normal((max(shape), min(shape)))
            q, r = np.linalg.qr(tall)
            q *= np.sign(np.diag(r))  # without this the draw is not uniform over orthogonal matrices
            return q if fan_in >= fan_out else q.T
