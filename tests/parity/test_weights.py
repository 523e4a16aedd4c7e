"""The neutral weight dictionary: names, draws, checks, files, and conversion of modules with names of their own."""

import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from torch import nn

import parity
from bnjax.model import MultiLayerPerceptron
from parity.errors import InputError
from parity.spec import Initialization, ModelSpec
from parity.weights import (
    Weights,
    cast_weights,
    check_weights,
    draw_weights,
    is_statistic,
    load_weights,
    registration_order_names,
    save_weights,
    select_arrays,
    weight_shapes,
)

SPEC = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=2, hidden_width=4)
NORM = ("gamma", "beta", "running_mean", "running_var")


def refusal(function: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names and shapes


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_names_and_shapes_follow_the_forward_pass(depth: int) -> None:
    spec = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=depth, hidden_width=4)
    expected = []
    for i in range(depth):
        expected += [(f"hidden.{i}.kernel", (4 if i else 6, 4)), (f"hidden.{i}.bias", (4,))]
        expected += [(f"hidden.{i}.{leaf}", (4,)) for leaf in NORM]
    expected += [("head.kernel", (4, 3)), ("head.bias", (3,))]
    assert list(weight_shapes(spec).items()) == expected

    plain = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=depth, hidden_width=4, use_batch_norm=False)
    assert list(weight_shapes(plain).items()) == [pair for pair in expected if not pair[0].endswith(NORM)]


def test_running_statistics_are_the_only_ones() -> None:
    statistics = [name for name in weight_shapes(SPEC) if is_statistic(name)]
    assert statistics == [f"hidden.{i}.{leaf}" for i in (0, 1) for leaf in ("running_mean", "running_var")]


# Draws


def wide(scheme: Initialization) -> ModelSpec:
    """A network with kernels of 784 x 256 and 256 x 256, for statistics over many numbers."""
    return ModelSpec(num_hidden_layers=2, hidden_width=256, initialization=scheme)


@pytest.mark.parametrize("scheme", Initialization)
@pytest.mark.parametrize("depth", [1, 3, 50])
def test_a_draw_fits_its_spec_in_float32(scheme: Initialization, depth: int) -> None:
    spec = ModelSpec(input_dim=6, num_hidden_layers=depth, hidden_width=4, initialization=scheme)
    weights = draw_weights(spec, seed=0)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(spec)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("scheme", Initialization)
def test_norms_start_as_the_identity(scheme: Initialization) -> None:
    weights = draw_weights(wide(scheme), seed=0)
    for leaf, value in {"gamma": 1, "beta": 0, "running_mean": 0, "running_var": 1}.items():
        assert (weights[f"hidden.1.{leaf}"] == value).all()


@pytest.mark.parametrize("scheme", [scheme for scheme in Initialization if scheme != "uniform_fan_in"])
def test_biases_start_at_0_but_under_the_uniform_scheme(scheme: Initialization) -> None:
    weights = draw_weights(wide(scheme), seed=0)
    assert not any(array.any() for name, array in weights.items() if name.endswith("bias"))


def test_uniform_draws_fill_their_interval() -> None:
    weights = draw_weights(wide(Initialization.UNIFORM_FAN_IN), seed=0)
    for name, fan_in in {"hidden.0": 784, "hidden.1": 256, "head": 256}.items():
        bound = 1 / np.sqrt(fan_in)
        for array in (weights[f"{name}.kernel"], weights[f"{name}.bias"]):
            # Rounding to float32 is monotone, so no value passes the rounded bound; of n values, all stay a share t
            # away from one end with probability (1 - t / 2)^n, below e^-15 at t = 30 / n.
            assert np.abs(array).max() <= np.float32(bound)
            if array.size > 200:
                assert array.max() > bound * (1 - 30 / array.size)
                assert array.min() < -bound * (1 - 30 / array.size)


@pytest.mark.parametrize(
    ("scheme", "numerator", "kurtosis"),
    [
        (Initialization.UNIFORM_FAN_IN, 1 / 3, 9 / 5),
        (Initialization.HE_NORMAL, 2, 3),
        (Initialization.LECUN_NORMAL, 1, 3),
    ],
)
def test_kernels_have_the_variance_of_their_scheme(scheme: Initialization, numerator: float, kurtosis: float) -> None:
    weights = draw_weights(wide(scheme), seed=0)
    for name, fan_in in {"hidden.0.kernel": 784, "hidden.1.kernel": 256, "head.kernel": 256}.items():
        array, variance = weights[name].astype(np.float64), numerator / fan_in
        # The mean of n squares, of known mean 0, has variance (E[x^4] - E[x^2]^2) / n = (kurtosis - 1) variance^2 / n,
        # and the mean of n fourth powers of a normal or uniform number at most 96 variance^4 / n: 5 standard errors.
        assert abs(np.mean(array**2) - variance) < 5 * variance * np.sqrt((kurtosis - 1) / array.size)
        assert abs(np.mean(array**4) / variance**2 - kurtosis) < 5 * np.sqrt(96 / array.size)
        assert abs(np.mean(array)) < 5 * np.sqrt(variance / array.size)


@pytest.mark.parametrize(("fan_in", "width"), [(784, 64), (64, 64), (16, 64)])
def test_orthogonal_kernels_are_orthogonal(fan_in: int, width: int) -> None:
    spec = ModelSpec(input_dim=fan_in, hidden_width=width, initialization=Initialization.ORTHOGONAL)
    kernel = draw_weights(spec, seed=0)["hidden.0.kernel"].astype(np.float64)
    gram = kernel.T @ kernel if fan_in >= width else kernel @ kernel.T
    # Each factor is rounded once to float32, off by at most eps / 2 of itself; by Cauchy and Schwarz an entry of the
    # product of unit vectors is then off by at most eps, and the factorization's float64 error is far below another.
    assert (np.abs(gram - np.eye(len(gram))) <= 2 * np.finfo(np.float32).eps).all()


def test_orthogonal_draws_favour_no_sign() -> None:
    # A bare Householder factorization gives the first entry the same sign in every draw.
    spec = ModelSpec(input_dim=5, hidden_width=5, initialization=Initialization.ORTHOGONAL)
    assert {np.sign(draw_weights(spec, seed)["hidden.0.kernel"][0, 0]) for seed in range(40)} == {-1, 1}


@pytest.mark.parametrize("scheme", Initialization)
def test_a_seed_decides_the_draw(scheme: Initialization) -> None:
    spec = replace(SPEC, initialization=scheme)
    first, again, other = (draw_weights(spec, seed) for seed in (3, 3, 4))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
        if name.endswith("kernel"):
            assert not np.array_equal(array, other[name])


@pytest.mark.parametrize("scheme", Initialization)
def test_batch_norm_does_not_change_the_other_weights(scheme: Initialization) -> None:
    on, off = (draw_weights(ModelSpec(use_batch_norm=use, initialization=scheme), seed=0) for use in (True, False))
    assert {name for name in on if not name.endswith(NORM)} == off.keys()
    for name, array in off.items():
        np.testing.assert_array_equal(array, on[name])


@pytest.mark.parametrize(
    ("scheme", "digest"),
    # Orthogonal kernels pass through a linear-algebra library, whose last bit is its own.
    [("uniform_fan_in", "ba865ec5cc205b12"), ("he_normal", "19b448ad20db4be3"), ("lecun_normal", "1214a15bb8ae0954")],
)
def test_a_draw_is_the_same_on_every_machine(scheme: Initialization, digest: str) -> None:
    sha = hashlib.sha256()
    for name, array in draw_weights(ModelSpec(num_hidden_layers=2, initialization=scheme), seed=0).items():
        sha.update(name.encode() + array.astype("<f4").tobytes())
    assert sha.hexdigest().startswith(digest)


# Checks and small tools


def test_everything_that_does_not_fit_is_listed_at_once() -> None:
    weights: dict[str, Any] = draw_weights(SPEC, seed=0)
    del weights["head.bias"], weights["hidden.1.gamma"]
    weights |= {"hidden.2.bias": np.zeros(4, np.float32), "hidden.0.kernel": weights["hidden.0.kernel"].T}
    weights |= {"hidden.0.beta": np.zeros(4, np.int64), "head.kernel": np.zeros((4, 3), np.float16)}
    assert refusal(check_weights, weights, SPEC, "weights in here") == (
        "weights in here do not fit the network: head.kernel has dtype float16 instead of float32 or float64; "
        "hidden.0.beta has dtype int64 instead of float32 or float64; "
        "hidden.0.kernel has shape (4, 6) instead of (6, 4); "
        "missing head.bias; missing hidden.1.gamma; unexpected hidden.2.bias"
    )


def test_mixed_dtypes_are_refused() -> None:
    weights = draw_weights(SPEC, seed=0)
    weights["head.bias"] = weights["head.bias"].astype(np.float64)
    message = refusal(check_weights, weights, SPEC)
    assert message == "weights do not fit the network: the dtypes float32 and float64 are mixed"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_that_fit_are_accepted(dtype: str) -> None:
    check_weights(cast_weights(draw_weights(SPEC, seed=0), dtype), SPEC)


def test_a_cast_shares_nothing() -> None:
    weights = draw_weights(SPEC, seed=0)
    for name, array in cast_weights(weights, "float32").items():
        assert not np.shares_memory(array, weights[name])
        np.testing.assert_array_equal(array, weights[name])
    assert {array.dtype for array in cast_weights(weights, "float64").values()} == {np.dtype(np.float64)}


def test_selected_arrays_are_copies_under_their_new_names() -> None:
    native = {"a": np.ones(2), "b": np.zeros(3)}
    selected = select_arrays(native, {"head.bias": "b", "head.kernel": "a"})
    assert list(selected) == ["head.bias", "head.kernel"]
    assert not np.shares_memory(selected["head.bias"], native["b"])
    assert selected["head.kernel"].tolist() == [1, 1]


def test_a_table_of_names_that_does_not_fit_is_refused_with_every_name() -> None:
    message = refusal(select_arrays, {"a": 1, "c": 2, "d": 3}, {"x": "a", "y": "b", "z": "e"})
    assert message == "weights do not fit the table of names: missing b; missing e; unexpected c; unexpected d"


# Files


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_a_file_gives_back_what_was_written(tmp_path: Path, dtype: str, use_batch_norm: bool) -> None:
    spec = ModelSpec(input_dim=6, num_hidden_layers=2, hidden_width=4, use_batch_norm=use_batch_norm)
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape).astype(dtype) for name, shape in weight_shapes(spec).items()}
    weights["head.kernel"] = np.asfortranarray(weights["head.kernel"])  # as a transposed Torch kernel comes
    save_weights(tmp_path / "w.safetensors", weights, spec)
    loaded = load_weights(str(tmp_path / "w.safetensors"), spec)
    assert loaded.keys() == weights.keys()
    for name, array in weights.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_weights_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    assert "missing" in refusal(save_weights, tmp_path / "w", {}, SPEC)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", draw_weights(SPEC, seed=0), SPEC)
    message = refusal(load_weights, tmp_path / "w", ModelSpec())
    assert message.startswith(f"weights in '{tmp_path / 'w'}' do not fit the network: ")
    assert "missing hidden.2.kernel" in message


def whole_file() -> bytes:
    return save(draw_weights(SPEC, seed=0))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        bytes(1000),
        pickle.dumps(draw_weights(SPEC, seed=0)),
        whole_file()[:-1],
        whole_file()[:40],
        whole_file()[:8] + b"[" + whole_file()[9:],
        whole_file() + b"\0",
    ],
    ids=["empty", "zip", "zeros", "pickle", "truncated", "only a header", "damaged header", "too long"],
)
def test_a_file_that_is_not_safetensors_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    message = refusal(load_weights, tmp_path / "w", SPEC)
    assert message.startswith(f"cannot read '{tmp_path / 'w'}' as safetensors: ")
    assert message.endswith("; write it with save_weights")


def test_a_folder_or_nothing_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(load_weights, tmp_path, SPEC)
    missing = tmp_path / "missing"
    assert (
        refusal(load_weights, missing, SPEC)
        == f"no weights at '{missing}': there is no such file; write it with save_weights"
    )


@pytest.mark.timeout(10)
def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w")
    assert "it is no regular file" in refusal(load_weights, tmp_path / "w", SPEC)


def one_tensor_file(dtype: str, shape: list[int], size: int) -> bytes:
    header = {"head.bias": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


DTYPES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "C64": 8,
    "I64": 8,
    "U8": 1,
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_of_any_dtype_gives_a_refusal(tmp_path: Path, dtype: str) -> None:
    (tmp_path / "w").write_bytes(one_tensor_file(dtype, [3], 3 * DTYPES[dtype]))
    refusal(load_weights, tmp_path / "w", SPEC)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    content = bytearray(whole_file())
    for _ in range(draw(st.integers(1, 4))):
        # Most of the header's structure lies in its first bytes.
        content[draw(st.integers(0, len(content) - 1) | st.integers(0, 60))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)) | st.just(len(content)))])


@st.composite
def one_tensor_files(draw: st.DrawFn) -> bytes:
    dtype, shape = draw(st.sampled_from(list(DTYPES))), draw(st.lists(st.integers(0, 5), max_size=3))
    return one_tensor_file(dtype, shape, math.prod(shape) * DTYPES[dtype] + draw(st.sampled_from([0, 0, 1])))


@settings(deadline=None)  # of a machine that does other things as well
@given(st.binary(max_size=300) | damaged_files() | one_tensor_files())
def test_any_bytes_are_weights_that_fit_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    with suppress(InputError):
        check_weights(load_weights(path, SPEC), SPEC)


def no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def half_written(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    no_space()


@pytest.mark.parametrize(("method", "failure"), [("write_bytes", half_written), ("replace", no_space)])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, failure: Callable[..., None]
) -> None:
    old = draw_weights(SPEC, seed=0)
    save_weights(tmp_path / "w", old, SPEC)
    monkeypatch.setattr(Path, method, failure)
    message = refusal(save_weights, tmp_path / "w", draw_weights(SPEC, seed=1), SPEC)
    assert message == f"cannot write {str(tmp_path / 'w')!r}: No space left on device; choose a writable place"
    loaded = load_weights(tmp_path / "w", SPEC)
    assert all(np.array_equal(loaded[name], array) for name, array in old.items())


def test_a_write_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", draw_weights(SPEC, seed=0), SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


# Torch modules with names of their own


class Lists(nn.Module):
    """Layers and norms in two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.fully_connected = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 3)])
        self.bn = nn.ModuleList([nn.BatchNorm1d(4), nn.BatchNorm1d(4)])


class Named(nn.Module):
    """Every layer an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Linear(6, 4), nn.BatchNorm1d(4)
        self.second, self.second_norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 3)


def sequential() -> nn.Module:
    block = (nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4))
    return nn.Sequential(*block, nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("module", "linears", "norms"),
    [
        (sequential, ["0", "3", "6"], ["2", "5"]),
        (Lists, [f"fully_connected.{i}" for i in range(3)], ["bn.0", "bn.1"]),
        (Named, ["first", "second", "out"], ["first_norm", "second_norm"]),
    ],
)
def test_names_come_from_the_order_of_registration(
    module: Callable[[], nn.Module], linears: list[str], norms: list[str]
) -> None:
    expected = {}
    for layer, linear in zip(("hidden.0", "hidden.1", "head"), linears, strict=True):
        expected |= {f"{layer}.kernel": f"{linear}.weight", f"{layer}.bias": f"{linear}.bias"}
    for i, norm in enumerate(norms):
        expected |= {f"hidden.{i}.gamma": f"{norm}.weight", f"hidden.{i}.beta": f"{norm}.bias"}
        expected |= {f"hidden.{i}.{leaf}": f"{norm}.{leaf}" for leaf in ("running_mean", "running_var")}
    state_dict = module().state_dict()
    assert "num_batches_tracked" in " ".join(state_dict)
    assert registration_order_names(state_dict, SPEC) == expected


@pytest.mark.parametrize(
    ("values", "network"),
    [
        ({"num_hidden_layers": 1}, "2 and 1"),
        ({"num_hidden_layers": 3}, "4 and 3"),
        ({"use_batch_norm": False}, "3 and 0"),
    ],
)
def test_a_module_of_other_layers_is_refused(values: dict[str, Any], network: str) -> None:
    message = refusal(registration_order_names, sequential().state_dict(), replace(SPEC, **values))
    assert message == f"the state_dict has 3 linear layers and 2 norms; the network has {network}"


class LabNetwork(nn.Module):
    """The lab's network as a student writes it."""

    def __init__(
        self, input_dim: int, output_dim: int, num_hidden_layers: int, hidden_width: int, use_batch_norm: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(num_hidden_layers):
            layers += [nn.Linear(hidden_width if i else input_dim, hidden_width), nn.ReLU()]
            if use_batch_norm:
                layers.append(nn.BatchNorm1d(hidden_width))
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(hidden_width, output_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.body(x))


def trained(spec: ModelSpec) -> LabNetwork:
    """A network in float64 whose norms have seen batches, and have a scale and a shift of their own."""
    torch.manual_seed(0)
    shape = (spec.input_dim, spec.output_dim, spec.num_hidden_layers, spec.hidden_width)
    net = LabNetwork(*shape, spec.use_batch_norm).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(5):
            net(3 * torch.randn(16, spec.input_dim, dtype=torch.float64) + 1)
    return net.eval()


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


@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_a_module_of_its_own_names_computes_the_same_in_flax(use_batch_norm: bool) -> None:
    spec = ModelSpec(input_dim=9, output_dim=3, num_hidden_layers=3, hidden_width=5, use_batch_norm=use_batch_norm)
    net = trained(spec)
    names = registration_order_names(net.state_dict(), spec)
    variables = parity.convert_weights(
        net.state_dict(), spec, source="torch", target="jax", source_names=names, dtype="float64"
    )
    inputs = np.random.default_rng(0).standard_normal((7, spec.input_dim))
    with jax.enable_x64(True):
        logits = np.array(MultiLayerPerceptron.from_spec(spec, "float64").apply(variables, inputs))
    with torch.no_grad():
        expected = net(torch.tensor(inputs)).numpy()
    weights = parity.load_backend("torch").from_native(net.state_dict(), spec, names)
    assert logits.dtype == np.float64
    assert (np.abs(logits - expected) <= rounding_limit(weights, spec, inputs)).all()

    back = parity.convert_weights(variables, spec, source="jax", target="torch", target_names=names, dtype="float64")
    for own in names.values():
        assert torch.equal(back[own], net.state_dict()[own])


def test_keys_that_a_table_does_not_fit_are_listed() -> None:
    net = trained(SPEC)
    names = registration_order_names(net.state_dict(), SPEC)
    state_dict = net.state_dict()
    del state_dict["body.0.bias"], state_dict["body.2.running_var"]
    state_dict["extra.weight"] = torch.zeros(3)
    with pytest.raises(InputError) as caught:
        parity.convert_weights(state_dict, SPEC, source="torch", target="jax", source_names=names)
    assert str(caught.value) == (
        "weights do not fit the table of names: missing body.0.bias; missing body.2.running_var; "
        "unexpected extra.weight"
    )
