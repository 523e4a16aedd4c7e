"""What is PyTorch's own about training: the module is the state, and keeps its mode."""

import importlib.util

import numpy as np
import pytest
import torch

import bntorch
from bntorch.module_state import mode
from parity.cli import main
from parity.data import load_dataset, standardize
from parity.spec import ModelSpec
from parity.weights import draw_weights


@pytest.fixture
def net() -> bntorch.MultiLayerPerceptron:
    return bntorch.create_train_state(bntorch.MultiLayerPerceptron(784, 10, 2, 4, True))


@pytest.mark.parametrize("training", [True, False])
def test_every_function_puts_the_module_back_in_its_mode(net, training: bool) -> None:
    data = standardize(load_dataset("synthetic"), 0.01)
    inputs, labels = data.train_inputs, data.train_labels
    net.train(training)
    bntorch.compute_objective(net, inputs, labels)
    bntorch.compute_objective(net, inputs, labels, train=True)
    bntorch.compute_accuracy(net, inputs, labels)
    bntorch.compute_logs(net, data)
    bntorch.train_step(net, inputs, labels, 0.1)
    bntorch.minibatch_sgd_one_pass(net, inputs, labels, 0.1, 32)
    assert [module.training for module in net.modules()] == [training] * len(list(net.modules()))


def test_the_mode_is_restored_when_a_step_fails(net) -> None:
    net.eval()
    with pytest.raises(ValueError, match="at least 2"):
        bntorch.train_step(net, np.zeros((1, 784), np.float32), np.zeros(1, np.int64), 0.1)
    assert not net.training


def test_mode_is_a_context_manager_for_any_module() -> None:
    module = torch.nn.Linear(1, 1)
    with mode(module, train=False):
        assert not module.training
    assert module.training


def test_the_objective_can_be_differentiated(net) -> None:
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(8, 784)).astype(np.float32), rng.integers(0, 10, 8)
    objective = bntorch.compute_objective(net, inputs, labels, train=True)
    gradients = torch.autograd.grad(objective, list(net.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_weights_that_do_not_fit_are_listed(net) -> None:
    state = net.state_dict()
    del state["head.bias"]
    state["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"missing head\.bias; unexpected extra"):
        bntorch.from_native(state, net.spec)


@pytest.mark.torchvision
def test_torch_sweeps_where_jax_is_not_installed(tmp_path, capsys) -> None:
    assert importlib.util.find_spec("jax") is None
    command = ["sweep", "--dataset", "synthetic", "--depths", "1", "--learning-rates", "0.01:10:3", "--passes", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").exists()
    assert main([*command, "--framework", "jax", "--out", str(tmp_path)]) == 2
    assert "pip install 'bnparity[jax]'" in capsys.readouterr().err


def test_each_part_keeps_its_own_mode(net) -> None:
    net.train()
    net.norms[0].eval()
    bntorch.compute_accuracy(net, np.zeros((2, 784), np.float32), np.zeros(2, np.int64))
    assert net.training
    assert net.norms[1].training
    assert not net.norms[0].training


def test_the_callers_random_stream_is_left_alone() -> None:
    backend, spec = bntorch.TorchBackend(), ModelSpec(hidden_width=2)
    weights, inputs, labels = draw_weights(spec, 0), np.zeros((4, 784), np.float32), np.zeros(4, np.int32)
    before = torch.get_rng_state()
    backend.learner(spec, weights, "float32").train_step(inputs, labels, 0.1)
    backend.population(spec, weights, [0.1], inputs, labels, "float32").run_pass(np.zeros((1, 4), np.int32))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_needs_no_gradient_mode_of_the_caller(net) -> None:
    spec = ModelSpec(hidden_width=2)
    inputs, labels = np.ones((4, 784), np.float32), np.arange(4)
    with torch.no_grad():
        bntorch.train_step(net, inputs, labels, 0.1)
        population = bntorch.Population(spec, draw_weights(spec, 0), [0.1], inputs, labels)
        assert population.run_pass(np.arange(4)[None]).finite.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_narrow_state_dict_becomes_float32_exactly(net, dtype: torch.dtype) -> None:
    state_dict = net.to(dtype).state_dict()
    weights = bntorch.from_native(state_dict, net.spec)
    assert weights["head.bias"].dtype == np.float32
    assert torch.equal(torch.tensor(weights["head.bias"]).to(dtype), state_dict["head.bias"])


def test_a_train_state_is_a_network_of_its_own_and_leaves_the_module() -> None:
    model = bntorch.MultiLayerPerceptron(6, 3, 2, 5, True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    narrow, first, second = (
        bntorch.create_train_state(model, dtype=dtype) for dtype in ("bfloat16", "float32", "float32")
    )
    assert narrow.head.dtype == torch.bfloat16
    assert first.head.dtype is model.head.dtype is None
    bntorch.train_step(first, np.eye(4, 6, dtype=np.float32), np.arange(4) % 3, 0.1)
    assert not torch.equal(first.head.weight, second.head.weight)
    assert torch.equal(second.head.weight, narrow.head.weight)
    wide = bntorch.create_train_state(model, dtype="float64")
    assert wide.head.weight.dtype == torch.float64
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_train_state_starts_with_a_fresh_optimizer() -> None:
    model = bntorch.MultiLayerPerceptron(6, 3, 2, 5, True)
    net = bntorch.create_train_state(model)
    net.opt_state["velocity"] = torch.ones(1)
    assert bntorch.create_train_state(net).opt_state == {}
