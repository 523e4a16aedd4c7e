"""The lab's functions by the lab's names, in both frameworks: what someone who knows only the lab relies on."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from honest_reference import evaluate

from parity.backend import load_backend, sibling_names
from parity.data import StandardizedData, load_dataset, standardize, updates_per_pass
from parity.reference.parts import cross_entropy
from parity.spec import ModelSpec
from parity.weights import Weights, cast_weights, draw_weights


@pytest.fixture(params=sibling_names())
def lab(request: pytest.FixtureRequest) -> ModuleType:
    """`bnjax`, then `bntorch`."""
    return importlib.import_module(type(load_backend(request.param)).__module__.partition(".")[0])


@pytest.fixture(scope="module")
def data() -> StandardizedData:
    return standardize(load_dataset("synthetic"), 0.5)


def make_net(lab: ModuleType, use_batch_norm: bool = True, seed: int = 0, **options: Any):
    return lab.create_train_state(lab.MultiLayerPerceptron(784, 10, 2, 16, use_batch_norm, **options), seed=seed)


def neutral(net) -> Weights:
    """The state of a net, whichever framework it is of."""
    if hasattr(net, "variables"):
        return importlib.import_module("bnjax").from_native(net.variables, net.model.spec)
    return importlib.import_module("bntorch").from_native(net.state_dict(), net.spec)


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_a_new_net_is_at_the_shared_initial_weights(lab: ModuleType) -> None:
    spec = ModelSpec(num_hidden_layers=2, hidden_width=16)
    assert same(neutral(make_net(lab, seed=5)), draw_weights(spec, seed=5))


@pytest.mark.parametrize("use_batch_norm", [False, True])
def test_objective_and_accuracy_are_those_of_evaluation_mode(lab, data, use_batch_norm: bool) -> None:
    net = make_net(lab, use_batch_norm)
    for _ in range(3):
        net, _ = lab.train_step(net, data.train_inputs[:32], data.train_labels[:32], 0.1)
    spec = ModelSpec(num_hidden_layers=2, hidden_width=16, use_batch_norm=use_batch_norm)
    before = neutral(net)
    weights = cast_weights(before, "float64")
    logits = evaluate(spec, weights, data.test_inputs.astype(np.float64))
    expected = cross_entropy(logits, data.test_labels)[0]
    # Standardized pixels of up to 1e3 meet in sums of 784 terms: each logit is good to about 784 ulps of the largest.
    slack = 784 * np.finfo(np.float32).eps * np.abs(logits).max()
    assert abs(lab.compute_objective(net, data.test_inputs, data.test_labels).item() - expected) <= slack
    accuracy = (logits.argmax(axis=1) == data.test_labels).mean()
    two_largest = np.sort(logits, axis=1)[:, -2:]
    ties = (np.diff(two_largest, axis=1) <= 2 * slack).mean()
    assert abs(float(lab.compute_accuracy(net, data.test_inputs, data.test_labels)) - accuracy) <= ties + 1e-6
    assert same(neutral(net), before)


def test_the_training_objective_uses_the_batchs_statistics_and_leaves_the_state(lab, data) -> None:
    net = make_net(lab)
    before = neutral(net)
    inputs, labels = data.train_inputs[:32], data.train_labels[:32]
    objective = lab.compute_objective(net, inputs, labels, train=True).item()
    assert same(neutral(net), before)
    _, metrics = lab.train_step(net, inputs, labels, 0.1)
    # One program and another: XLA fuses them differently, so the last few bits may differ.
    assert objective == pytest.approx(float(metrics["loss"]), rel=1e2 * float(np.finfo(np.float32).eps))
    assert objective != pytest.approx(lab.compute_objective(make_net(lab), inputs, labels).item(), rel=1e-3)


def test_logs_are_losses_and_accuracies_of_both_sets(lab, data, capsys) -> None:
    net = make_net(lab)
    logs = lab.compute_logs(net, data, verbose=True)
    assert logs == (
        lab.compute_objective(net, data.train_inputs, data.train_labels).item(),
        lab.compute_accuracy(net, data.train_inputs, data.train_labels).item(),
        lab.compute_objective(net, data.test_inputs, data.test_labels).item(),
        lab.compute_accuracy(net, data.test_inputs, data.test_labels).item(),
    )
    assert f"test_accuracy {logs.test_accuracy:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("use_batch_norm", [False, True])
def test_one_pass_learns(lab, data, use_batch_norm: bool) -> None:
    net = make_net(lab, use_batch_norm)
    before = lab.compute_logs(net, data)
    net = lab.minibatch_sgd_one_pass(net, data.train_inputs, data.train_labels, 0.1, 32)
    after = lab.compute_logs(net, data)
    assert after.test_loss < 0.8 * before.test_loss
    assert after.test_accuracy > 0.5


@pytest.mark.parametrize("dropout_rate", [0.0, 0.25])
def test_one_pass_is_so_many_updates_on_draws_with_replacement(lab, data, monkeypatch, dropout_rate: float) -> None:
    seen, kept = [], []
    train = importlib.import_module(f"{lab.__name__}.train")

    def spy(net, inputs, labels, learning_rate, masks):
        seen.append(np.asarray(inputs))
        kept.append(masks)
        return net, {"loss": 1.0}

    monkeypatch.setattr(train, "train_step", spy)
    inputs, labels = data.train_inputs[:100], data.train_labels[:100]
    net = make_net(lab, dropout_rate=dropout_rate)
    lab.minibatch_sgd_one_pass(net, inputs, labels, 0.1, 8, rng=np.random.default_rng(3))
    assert len(seen) == updates_per_pass(100, 8) == 12
    rng = np.random.default_rng(3)
    for batch, masks in zip(seen, kept, strict=True):
        np.testing.assert_array_equal(batch, inputs[rng.integers(100, size=8)])
        if dropout_rate:
            np.testing.assert_array_equal(masks, rng.random((2, 8, 16)) >= dropout_rate)
        else:
            assert masks is None


def test_verbose_shows_the_moving_average_every_hundred_updates(lab, data, monkeypatch, capsys) -> None:
    losses = iter(np.linspace(2, 1, 250))
    train = importlib.import_module(f"{lab.__name__}.train")
    monkeypatch.setattr(train, "train_step", lambda net, *_: (net, {"loss": next(losses)}))
    lab.minibatch_sgd_one_pass(make_net(lab), data.train_inputs[:500], data.train_labels[:500], 0.1, 2, verbose=True)
    average = None
    expected = []
    for update, loss in enumerate(np.linspace(2, 1, 250), start=1):
        average = loss if average is None else 0.99 * average + 0.01 * loss
        if update % 100 == 0:
            expected.append(f"update {update}: average loss {average:.4f}")
    assert capsys.readouterr().out.splitlines() == expected


def test_one_batch_of_one_is_refused_with_batch_norm(lab, data) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        lab.minibatch_sgd_one_pass(make_net(lab), data.train_inputs[:3], data.train_labels[:3], 0.1, 1)


@pytest.mark.fashion_mnist
def test_a_healthy_run_reaches_the_accuracy_that_the_lab_sees(lab) -> None:
    data = standardize(load_dataset("fashion-mnist"), fraction=1.0)
    # Almost constant pixels become large, and must be neither clipped nor lost.
    assert np.abs(data.test_inputs).max() > 250
    net = lab.create_train_state(lab.MultiLayerPerceptron(784, 10, 3, 64, True), seed=0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        net = lab.minibatch_sgd_one_pass(net, data.train_inputs, data.train_labels, 0.1, 32, rng=rng)
    assert lab.compute_logs(net, data).test_accuracy >= 0.865


def test_inputs_of_another_dtype_are_taken_in_the_weights_own(lab, data) -> None:
    inputs, labels = data.train_inputs[:32], data.train_labels[:32]
    expected = lab.compute_objective(make_net(lab), inputs, labels).item()
    assert lab.compute_objective(make_net(lab), inputs.astype(np.float64), labels).item() == expected
    wide, _ = lab.train_step(make_net(lab), inputs.astype(np.float64), labels, 0.1)
    narrow, _ = lab.train_step(make_net(lab), inputs, labels, 0.1)
    assert same(neutral(wide), neutral(narrow))
