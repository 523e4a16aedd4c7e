"""Equinox's batch norm, which has two modes, beside PyTorch's."""

from functools import partial
from typing import Any

import numpy as np

import parity
from published.entry import Entry

STEPS, DECAY = 3, 0.9
BATCHES = {"x": parity.normal(STEPS + 1, 8, 5), "target": parity.normal(8, 5)}
BIASED = {"accept": ["biased_running_variance@*"]}


def one_norm(mode: str) -> tuple[Any, Any]:
    """Return a port of PyTorch's batch norm behind a linear layer, and one of Equinox's."""
    import equinox as eqx
    import jax
    import torch

    import bnjax
    import bntorch

    class Net(eqx.Module):
        linear: Any
        norm: Any

        def __init__(self) -> None:
            self.linear = eqx.nn.Linear(5, 5, key=jax.random.key(0))
            self.norm = eqx.nn.BatchNorm(5, axis_name="batch", momentum=DECAY, mode=mode)

        def __call__(self, x: Any, state: Any) -> Any:
            return self.norm(self.linear(x), state)

    module = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.BatchNorm1d(5, momentum=1 - DECAY))
    return bntorch.port(module, loss=squared), bnjax.port(*eqx.nn.make_with_state(Net)(), loss=squared)


def evaluated_early(mode: str) -> tuple[Any, Any]:
    """Return ports of a fresh norm that is trained on a few batches and then evaluated on another.

    The reference is what Equinox documents of its modes: in "ema" the averages start at the first batch's, in "batch"
    they start at 0 and are divided by what they lack to 1.
    """
    import equinox as eqx
    import jax
    import torch

    import bnjax
    import bntorch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = (torch.nn.Parameter(torch.rand(5)) for _ in range(2))

        def forward(self, x: Any) -> Any:
            is_first = mode == "ema"
            mean, variance = (x[0].mean(0), x[0].var(0, correction=0)) if is_first else torch.zeros(2, 5).double()
            for batch in x[1:-1] if is_first else x[:-1]:
                mean = DECAY * mean + (1 - DECAY) * batch.mean(0)
                variance = DECAY * variance + (1 - DECAY) * batch.var(0, correction=0)
            if not is_first:
                mean, variance = (each / (1 - DECAY**STEPS) for each in (mean, variance))
            return (x[-1] - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias

    def run(parameters: Any, x: Any) -> Any:
        norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(5, axis_name="batch", momentum=DECAY, mode=mode)
        held = parameters["weight"], parameters["bias"]
        norm = eqx.tree_at(lambda each: (each.weight, each.bias), norm, held)
        call = partial(jax.vmap, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
        for batch in x[:-1]:
            _, state = call(norm)(batch, state)
        return call(eqx.nn.inference_mode(norm))(x[-1], state)[0]

    parameters = {"weight": np.ones(5), "bias": np.zeros(5)}
    return bntorch.port(Net(), loss=squared), bnjax.port(run, parameters, loss=squared)


def squared(y: Any, target: Any) -> Any:
    """Return the mean square of an output's distance from a target."""
    return ((y - target) ** 2).mean()


def entry(words: str, sides: Any, inputs: Any, **more: Any) -> Entry:
    """Return a row of Equinox."""
    known = tuple(more.pop("known", ()))
    return Entry(
        architecture="BatchNorm",
        package="equinox",
        configuration=words,
        sides=sides,
        inputs=inputs,
        options={"lift_float32": True, **more},
        known=known,
    )


ONE = {"x": parity.normal(8, 5), "target": parity.normal(8, 5)}
ENTRIES = [
    entry('mode "ema"', partial(one_norm, "ema"), ONE, known=("equinox_batch_norm_ema",), **BIASED),
    entry('mode "batch"', partial(one_norm, "batch"), ONE, **BIASED),
    entry(
        'mode "batch", evaluated after three batches',
        partial(evaluated_early, "batch"),
        BATCHES,
        known=("equinox_batch_norm_start",),
    ),
    entry('mode "ema", evaluated after three batches', partial(evaluated_early, "ema"), BATCHES),
]
