"""Every JAX program can be compiled for a TPU and for CUDA as well: nothing in it is for the CPU alone.

It is lowered for them here, which needs no such device.
"""

from typing import Any

import flax.linen as fnn
import jax
import numpy as np
import optax
import pytest

import bnjax
from bnjax.layout import Layout, devices_of
from bnjax.learner import Learner
from bnjax.parts import HONEST
from bnjax.programs import COMPILED, loop_step
from parity.backend.port import Mode, Task
from parity.spec import ModelSpec
from parity.weights import draw_weights

PLATFORMS = ("tpu", "cuda")
SPECS = {
    "batch norm": ModelSpec(num_hidden_layers=2, hidden_width=8),
    "no batch norm": ModelSpec(num_hidden_layers=2, hidden_width=8, use_batch_norm=False),
    "residual, dropout": ModelSpec(num_hidden_layers=2, hidden_width=8, residual=True, dropout_rate=0.1),
}


class Elsewhere:
    """A jitted function that is lowered for a platform."""

    def __init__(self, function: Any, platform: str) -> None:
        self._function, self._platform = function, platform

    def lower(self, *args: Any, **kwargs: Any) -> str:
        return self._function.trace(*args, **kwargs).lower(lowering_platforms=(self._platform,)).as_text()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_programs_of_a_sweep(platform: str, name: str) -> None:
    layout = Layout(SPECS[name], 4, 1, "float32", HONEST, devices_of("cpu"), "highest")
    run = layout.lower_run(Elsewhere(COMPILED.run, platform), samples=64, batch_size=16)
    assert "stablehlo.while" in run  # the updates
    evaluate = layout.lower_evaluation(Elsewhere(COMPILED.evaluate, platform), samples=64)
    assert "stablehlo.dot_general" in evaluate


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_step_of_the_check_and_of_the_benchmark(platform: str) -> None:
    spec = SPECS["batch norm"]
    learner = Learner(spec, draw_weights(spec, 0), "float32", HONEST, "cpu", "highest")
    data = np.zeros((32, spec.input_dim), np.float32), np.zeros(32, np.int32), np.arange(16, dtype=np.int32)
    with learner.settings():
        text = Elsewhere(loop_step, platform).lower(learner.net, *data, np.float32(0.1))
    assert "stablehlo.dot_general" in text


class Net(fnn.Module):
    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = fnn.BatchNorm(use_running_average=not train, momentum=0.9)(fnn.Conv(4, (3, 3))(x))
        return fnn.Dense(3)(fnn.max_pool(fnn.relu(x), (2, 2), (2, 2)).reshape(len(x), -1))


INPUTS = {"x": np.zeros((4, 8, 8, 3)), "labels": np.zeros(4, np.int64)}


def port() -> Any:
    loss = lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()  # noqa: E731
    made = bnjax.port(Net(), loss=loss, optimizer=optax.adam(1e-3))
    made.prepare(INPUTS)
    return made


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_work_of_a_pair(platform: str) -> None:
    for task, name in ((Task.FORWARD, "_forward"), (Task.STEP, "_step")):
        work = port().work(INPUTS, task, "jitted", "float32", "highest")
        given = work._parameters, work._statistics, work._inputs
        given = (*given[:2], work._state, given[2]) if task is Task.STEP else given
        assert "stablehlo.convolution" in Elsewhere(getattr(work, name), platform).lower(*given)


@pytest.mark.parametrize("bits", [None, 48])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_compare_plays(platform: str, bits: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, which a TPU lacks: it is emulated there, and a GPU has it."""
    from bnjax import program as programs
    from parity.backend.port import Rounding

    lowered: list[str] = []

    def seen(function: Any) -> Any:
        jitted = jax.jit(function)

        def run(*args: Any) -> Any:
            lowered.append(Elsewhere(jitted, platform).lower(*args))
            return jitted(*args)

        return run

    monkeypatch.setattr(programs, "quickly_compiled", seen)
    port().play(INPUTS, Mode.TRAIN, None, None if bits is None else Rounding(bits=bits, seed=0))
    assert "stablehlo.convolution" in lowered[0]


def test_a_program_for_the_cpu_alone_is_seen() -> None:
    with pytest.raises(NotImplementedError, match="tpu"):
        Elsewhere(jax.jit(jax.numpy.linalg.eig), "tpu").lower(np.eye(2, dtype=np.float32))
