"""Numbers of other widths than float64: constants in the libraries themselves, and NumPy's integers."""

import flax.linen as fnn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from bnjax.specimens.losses import cross_entropy
from parity.verdict.verdict import Verdict

INPUTS = {"x": parity.normal(5, 6), "labels": parity.integers(5, below=6)}
ORDER = np.array([3, 1, 4, 1, 5, 2])


class TorchNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.hardsigmoid(self.first(x))[:, torch.from_numpy(ORDER)])


class FlaxNet(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.hard_sigmoid(fnn.Dense(6, name="first")(x))
        return fnn.Dense(6, name="last")(x[:, ORDER])


@pytest.mark.parametrize("lift", [False, True])
def test_a_constant_that_pytorch_itself_has_as_float32_is_told_or_lifted(lift: bool) -> None:
    ports = bntorch.port(TorchNet(), loss=F.cross_entropy), bnjax.port(FlaxNet(), loss=cross_entropy)
    report = parity.compare(*ports, inputs=INPUTS, questions=("forced",), lift_float32=lift)
    assert report.verdict is (Verdict.AGREE if lift else Verdict.INCOMPLETE), (report.findings, report.not_compared)
    if not lift:
        (line,) = [each for each in report.not_compared if each.startswith("backward at between first and last")]
        assert "entirely where all is computed in float64 (all is computed in float64; in the reference hards" in line
    assert [each["operation"] for each in report.islands] == ([] if lift else ["hardsigmoid_backward"])


def test_numpys_integers_in_a_model_are_of_64_bits_and_of_32() -> None:
    model = FlaxNet()
    variables = model.init(jax.random.key(0), jnp.ones((5, 6)))
    jitted = jax.jit(model.apply)
    jitted(variables, jnp.ones((5, 6)))  # as the user runs it, of 32 bits
    ports = bntorch.port(TorchNet()), bnjax.port(model, variables)
    report = parity.compare(*ports, inputs={"x": INPUTS["x"]})
    assert report.verdict is Verdict.AGREE, (report.findings, report.not_compared)
    assert not any("float64 by itself" in line for line in report.not_compared)
    jitted(variables, jnp.ones((5, 6)))


class Float64Only(nn.Module):
    """It holds a number of float64 that no narrower one is multiplied with."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x @ torch.eye(6, dtype=torch.float64))


def test_a_model_that_does_not_run_in_float32_is_compared_in_float64_all_the_same() -> None:
    class Flax(fnn.Module):
        @fnn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return fnn.Dense(6, name="last")(x)

    ports = bntorch.port(Float64Only(), loss=F.cross_entropy), bnjax.port(Flax(), loss=cross_entropy)
    for pair in (ports, ports[::-1]):
        report = parity.compare(*pair, inputs=INPUTS)
        assert report.verdict is Verdict.INCOMPLETE, report.findings
        side = "reference" if pair is ports else "candidate"
        assert any(line.startswith(f"anything in float32, in which the {side} raised") for line in report.not_compared)
        assert report.comparisons
