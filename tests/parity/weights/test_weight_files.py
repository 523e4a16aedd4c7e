"""Files of weights."""

import json
import math
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from weight_cases import SPEC, refusal

from parity.errors import InputError
from parity.spec import ModelSpec
from parity.weights import check_weights, draw_weights, load_weights, save_weights, weight_shapes


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
