"""The code that the page shows: it runs as it stands there, and computes what the project's own code computes."""

import inspect
import re
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from lab_config import small_config

from parity.backend import Lesson, run_listing
from parity.lab import network
from parity.lab.config import lab_data
from parity.report.curves import moving_average
from parity.spec import DType, ModelSpec, RunningVariance
from parity.weights import Weights, draw_weights, is_statistic

SPEC = ModelSpec(num_hidden_layers=2)
# Each framework's own layer averages its own variance.
OWN_VARIANCE = {"jax": RunningVariance.BIASED, "torch": RunningVariance.UNBIASED}


@pytest.fixture
def lesson(framework: Any) -> Lesson:
    return framework.tools().lesson


def used_weights(spec: ModelSpec, seed: int = 0) -> Weights:
    """Weights in which gamma, beta and the statistics are not at their start, so that each counts."""
    rng = np.random.default_rng(seed)
    drawn = draw_weights(spec, seed)
    return {
        name: array if name.endswith(("kernel", "bias")) else rng.uniform(0.5, 2, array.shape).astype(np.float32)
        for name, array in drawn.items()
    }


def in_dtype(framework: Any, dtype: DType) -> Any:
    """JAX has float64 only where it is asked for."""
    return import_module("jax").enable_x64(dtype == "float64" and framework.name == "jax")


@pytest.mark.parametrize("mode", ["evaluation", "training"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_plain_network_is_the_projects_own(framework: Any, lesson: Lesson, depth: int, mode: str) -> None:
    spec = ModelSpec(num_hidden_layers=depth)
    weights, rng = used_weights(spec), np.random.default_rng(1)
    x, labels = rng.standard_normal((32, 784)), rng.integers(0, 10, 32)
    own = framework.learner(spec, weights, "float64")
    expected = own.evaluate(x) if mode == "evaluation" else own.train_step(x, labels, 0.0).logits
    with in_dtype(framework, "float64"):
        found = lesson.plain_logits(lesson.plain_net(spec, weights, "float64"), x, mode == "training")
    assert found.dtype == np.float64
    # Each of depth + 1 layers rounds sums of up to 784 terms, and normalizes them by a mean and a variance of 32.
    limit = (depth + 1) * (784 + 3 * 32) * np.finfo(np.float64).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def test_its_training_is_the_projects_own_and_says_where_it_is(framework: Any, lesson: Lesson) -> None:
    config = small_config()
    data = lab_data(config.dataset, config.data_dir, 0.2)
    inputs, labels = data.train_inputs[:1664], data.train_labels[:1664]  # 52 updates a pass
    net = lesson.plain_net(SPEC, draw_weights(SPEC, 0))
    listing, (losses,) = run_listing(lesson.train, {"train(net)": (net, inputs, labels, 2)})
    own, rng = framework.learner(SPEC, draw_weights(SPEC, 0), "float64"), np.random.default_rng(0)
    expected = []
    for _ in range(5):
        rows = rng.integers(len(inputs), size=32)
        expected.append(own.train_step(inputs[rows].astype(np.float64), labels[rows], 0.1).loss)
    # Float32's rounding of sums of 784 terms in three layers, once more in every update.
    limit = float(5 * 3 * 784 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(losses[:5], expected, rtol=limit)
    averages = moving_average(losses)
    assert len(losses) == 2 * 52
    assert listing.output.splitlines() == [
        ">>> train(net)",
        f"pass 1, update 50: loss {averages[49]:.4f}",
        f"pass 2, update 50: loss {averages[52 + 49]:.4f}",
    ]


def test_batch_norm_in_both_modes_is_the_formula(framework: Any, lesson: Lesson) -> None:
    x = np.random.default_rng(0).normal([3, -1, 0], [2, 0.5, 1], (25, 3)).astype(np.float32)
    found = lesson.both_modes(x)
    mean, var = x.mean(axis=0, dtype=np.float64), x.var(axis=0, dtype=np.float64)
    own = var * (25 / 24 if OWN_VARIANCE[framework.name] is RunningVariance.UNBIASED else 1)
    # Sums of 25 terms; a fast variance loses what the mean's square is larger by.
    limit = 4 * 25 * np.finfo(np.float32).eps * (1 + (mean**2 / var).max()) * np.abs(x).max()
    np.testing.assert_allclose(found["training"], (x - mean) / np.sqrt(var + 1e-5), rtol=0, atol=limit)
    running = 0.1 * mean, 0.9 + 0.1 * own
    np.testing.assert_allclose(found["evaluation"], (x - running[0]) / np.sqrt(running[1] + 1e-5), rtol=0, atol=limit)


def test_the_framework_shows_a_short_network(lesson: Lesson) -> None:
    listing, _ = run_listing(lesson.summary, {"summary()": ()})
    assert "PlainNet" in listing.output
    assert len(re.findall(r"BatchNorm(?:_\d|1d\(64)", listing.output)) == 2
    assert len(listing.output.splitlines()) < 60
    assert "\x1b" not in listing.output


def test_every_tensor_has_its_own_name(framework: Any, lesson: Lesson) -> None:
    found = lesson.plain_tensors(SPEC)
    drawn = draw_weights(SPEC, 0)
    assert found.keys() == drawn.keys()
    assert len({name for name, _ in found.values()}) == len(found)
    for name, (own, shape) in found.items():
        turned = framework.name == "torch" and name.endswith("kernel")
        assert shape == (drawn[name].shape[::-1] if turned else drawn[name].shape)
        assert is_statistic(name) == any(word in own for word in ("batch_stats", "running"))


def test_what_is_shown_runs_as_it_stands(lesson: Lesson) -> None:
    """All listings in one new module, as a student copies them."""
    module: dict[str, Any] = {"__name__": "a_students_file"}
    for name in ("convolution", "both_modes", "PlainNet", "summary", "train"):
        listing, _ = run_listing(getattr(lesson, name), {})
        assert listing.output == ""
        assert not any(package in listing.source for package in ("parity", "bnjax", "bntorch"))
        exec(listing.source, module)
    assert module["convolution"](1, 28, 1, 2)["output"] == lesson.convolution(1, 28, 1, 2)["output"]
    x = np.random.default_rng(0).standard_normal((32, 3)).astype(np.float32)
    np.testing.assert_array_equal(module["both_modes"](x)["training"], lesson.both_modes(x)["training"])
    module["summary"]()
    net = lesson.plain_net(SPEC, draw_weights(SPEC, 0))
    inputs = np.random.default_rng(0).standard_normal((64, 784)).astype(np.float32)
    losses = module["train"](net, inputs, np.arange(64) % 10, passes=1)
    again = lesson.train(lesson.plain_net(SPEC, draw_weights(SPEC, 0)), inputs, np.arange(64) % 10, 1)
    assert len(losses) == 2
    np.testing.assert_array_equal(losses, again)


def greet(name):
    print("hello", name)


def double(number):
    return {"twice": 2 * number, "entropy": np.log(number)}


def test_a_listing_is_the_source_and_what_each_call_printed_or_returned() -> None:
    listing, values = run_listing(greet, {"greet('a')": ("a",), "greet('b')": ("b",)})
    assert listing.source == inspect.getsource(greet).rstrip()
    assert listing.output == ">>> greet('a')\nhello a\n>>> greet('b')\nhello b"
    assert values == [None, None]
    listing, values = run_listing(double, {"double(1)": (1,)})
    assert listing.source.splitlines()[:2] == ["import numpy as np", ""]
    assert listing.output.startswith(">>> double(1)\n{'twice': 2,")
    assert values[0]["twice"] == 2


def test_the_page_says_how_far_the_plain_network_is_off(framework: Any, lesson: Lesson) -> None:
    config = small_config(framework.name)
    measured = network.measure(framework, config)
    data = lab_data(config.dataset, config.data_dir, config.fraction)
    weights, x, labels = draw_weights(SPEC, 0), data.train_inputs[:32], data.train_labels[:32]
    own, net = framework.learner(SPEC, weights, "float32"), lesson.plain_net(SPEC, weights)
    pairs = {
        "evaluation": (own.evaluate(x), lesson.plain_logits(net, x)),
        "training": (own.train_step(x, labels, 0.0).logits, lesson.plain_logits(net, x, True)),
    }
    assert measured.apart == {mode: np.abs(a - b).max() for mode, (a, b) in pairs.items()}
    shown = replace(measured, apart={"evaluation": 0.25, "training": 0.5})
    text = " ".join(getattr(b, "markdown", "") for b in network.section({"one": shown}, config, "a command").blocks)
    assert "at most 5e-01 apart" in text


def test_its_running_averages_are_the_projects_own(framework: Any, lesson: Lesson) -> None:
    spec = ModelSpec(num_hidden_layers=2, running_variance=OWN_VARIANCE[framework.name])
    weights, rng = used_weights(spec), np.random.default_rng(1)
    x, labels = rng.standard_normal((32, 784)).astype(np.float32), rng.integers(0, 10, 32)
    own = framework.learner(spec, weights, "float32")
    own.train_step(x, labels, 0.0)
    net = lesson.plain_net(spec, weights)
    if framework.name == "torch":
        net.train()(import_module("torch").tensor(x))
        names, native = {name: key for name, (key, _) in lesson.plain_tensors(spec).items()}, net.state_dict()
    else:
        names = {name: tuple(path.split("/")) for name, (path, _) in lesson.plain_tensors(spec).items()}
        native = {**net, **lesson.PlainNet(2).apply(net, x, True, mutable=["batch_stats"])[1]}
    found = framework.from_native(native, spec, names)
    # Sums of up to 784 terms and of 32, in two layers, in float32.
    limit = float(2 * (784 + 32) * np.finfo(np.float32).eps)
    for name, expected in own.weights().items():
        np.testing.assert_allclose(found[name], expected, rtol=limit, atol=limit, err_msg=name)
        assert np.array_equal(found[name], weights[name]) != is_statistic(name)
