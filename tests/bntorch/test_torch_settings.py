"""What is PyTorch's own about parts and settings: the precision is the process's, and is put back."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bntorch
from bntorch.linear import Linear
from bntorch.module_state import call_with_state
from bntorch.parts import HONEST, linear
from bntorch.settings import matmul_precision
from bntorch.variants import compiled
from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights import draw_weights

SPEC = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=1, hidden_width=5)
CPU: Any = torch.backends.mkldnn

Batch = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, 6)).astype(np.float32), rng.integers(0, 3, 8)


def settings() -> tuple[str, ...]:
    """The precision for all devices, and those of CPU and GPU."""
    return (
        torch.get_float32_matmul_precision(),
        CPU.matmul.fp32_precision,
        str(torch.backends.cuda.matmul.fp32_precision),
    )


EXPECTED = {
    "highest": ("highest", "ieee", "ieee"),
    "tf32": ("high", "tf32", "tf32"),
    "bfloat16": ("medium", "bf16", "tf32"),
}


@pytest.mark.parametrize("precision", EXPECTED)
def test_the_precision_is_set_around_every_computation_and_restored(batch: Batch, precision) -> None:
    seen = []

    def spy(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        seen.append(settings())
        return linear(x, kernel, bias)

    backend = bntorch.TorchBackend(precision=precision, parts=replace(HONEST, linear=spy))
    before = settings()
    learner = backend.learner(SPEC, draw_weights(SPEC, 0), "float32")
    population = backend.population(SPEC, draw_weights(SPEC, 0), [0.1], *batch, "float32")
    for compute in (
        lambda: learner.train_step(*batch, 0.1),
        lambda: learner.evaluate(batch[0]),
        lambda: learner.activations(batch[0]),
        lambda: population.run_pass(np.arange(8)[None]),
        lambda: population.evaluate(*batch),
    ):
        seen.clear()
        compute()
        assert set(seen) == {EXPECTED[precision]}
        assert settings() == before


def test_the_precision_is_restored_after_an_error(batch: Batch) -> None:
    before = settings()
    learner = bntorch.TorchBackend(precision="bfloat16").learner(SPEC, draw_weights(SPEC, 0), "float32")
    with pytest.raises(InputError):
        learner.train_step(batch[0][:1], batch[1][:1], 0.1)
    assert settings() == before


def test_a_caller_may_set_the_precision_of_each_device() -> None:
    before = CPU.matmul.fp32_precision
    try:
        CPU.matmul.fp32_precision = "bf16"
        with matmul_precision("highest"):
            assert CPU.matmul.fp32_precision == "ieee"
        assert CPU.matmul.fp32_precision == "bf16"
    finally:
        CPU.matmul.fp32_precision = before


def test_ours_and_pytorchs_linear_take_each_others_tensors() -> None:
    ours, stock, x = Linear(6, 5), nn.Linear(6, 5), torch.ones(8, 6)
    stock.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), stock(x))


def test_other_tensors_stand_in_for_a_call_and_no_longer(batch: Batch) -> None:
    net = bntorch.create_train_state(bntorch.MultiLayerPerceptron(6, 3, 1, 5, True))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    call_with_state(net.parts.apply, net, buffers, torch.tensor(batch[0]), True)
    assert not torch.equal(buffers["norms.0.running_mean"], before["norms.0.running_mean"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_activations_of_a_step_hold_no_graph(batch: Batch) -> None:
    net = bntorch.create_train_state(bntorch.MultiLayerPerceptron(6, 3, 1, 5, True))
    _, output = bntorch.sgd_step(net, torch.tensor(batch[0]), torch.tensor(batch[1]), 0.1)
    assert not any(value.requires_grad for value in output.activations.values())


def test_a_net_of_a_working_dtype_is_one_by_the_labs_functions(batch: Batch) -> None:
    net = bntorch.create_train_state(bntorch.MultiLayerPerceptron(6, 3, 1, 5, True), dtype="bfloat16")
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float32}
    assert net.head.dtype == torch.bfloat16
    net, metrics = bntorch.train_step(net, *batch, 0.1)
    assert {tensor.dtype for tensor in (*net.state_dict().values(), *metrics.values())} == {torch.float32}


def test_compiling_needs_a_compiler(monkeypatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler, and there is no g\+\+ or clang\+\+; install one"):
        compiled(bntorch.TorchBackend())
