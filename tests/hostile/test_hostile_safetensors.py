"""Files of weights: the arrays that an independent reading finds in them, or one line."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from hostile_cases import damaged, file_names, hostile, paths, refusal, texts
from hostile_places import KINDS, emptied, put
from hypothesis import strategies as st
from safetensors.numpy import save

from parity.spec import ModelSpec
from parity.weights import Weights, draw_weights, load_weights, weight_shapes

SPEC = ModelSpec(input_dim=2, output_dim=2, num_hidden_layers=1, hidden_width=2)
SHAPES = weight_shapes(SPEC)
DTYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
VALID = save(dict(draw_weights(SPEC, seed=0)))
SIZE = sum(4 * int(np.prod(shape)) for shape in SHAPES.values())


def understood(data: bytes) -> Weights | None:
    """The weights in a file by the format's own rules; None for what is no file of this network's weights."""
    size = int.from_bytes(data[:8], "little")
    body = data[8 + size :]
    try:
        header = json.loads(data[8 : 8 + size])
        entries = {name: value for name, value in header.items() if name != "__metadata__"}
        tensors = {n: (DTYPES[e["dtype"]], tuple(e["shape"]), *e["data_offsets"]) for n, e in entries.items()}
        end = 0
        for dtype, shape, start, stop in sorted(tensors.values(), key=lambda tensor: tensor[2]):
            if start != end or stop - start != dtype.itemsize * int(np.prod(shape)):
                return None
            end = stop
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    fits = {name: tensor[1] for name, tensor in tensors.items()} == SHAPES
    if not fits or end != len(body) or len({tensor[0] for tensor in tensors.values()}) != 1:
        return None
    return {
        name: np.frombuffer(body[start:stop], dtype).reshape(shape)
        for name, (dtype, shape, start, stop) in tensors.items()
    }


def file_of(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def assert_read_or_refused(path: Path, data: bytes, must_be_read: bool = False) -> None:
    found: list[Weights] = []
    message = refusal(lambda: found.append(load_weights(path, SPEC)))
    if found:
        expected = understood(data)
        assert expected is not None
        assert found[0].keys() == expected.keys()
        assert all(found[0][name].tobytes() == expected[name].tobytes() for name in expected)
    else:
        assert not must_be_read, message
        assert repr(str(path)) in message
        assert message.endswith("; write it with save_weights") or "do not fit the network: " in message


@hostile(sample=60, many=9000, data=st.one_of(damaged(VALID), damaged(VALID, most=1), st.binary(max_size=60)))
def test_damaged_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(data)
    assert_read_or_refused(path, data)


sizes = st.sampled_from((0, 1, 2, 3, 4, 8, SIZE, 2**31, 2**32, 2**62, 2**63, 2**64, -1))
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(
            ("F32", "F64", "F16", "BF16", "F8_E4M3", "F4", "I64", "U8", "BOOL", "C64", "?", "", "f32")
        ),
        "shape": st.lists(sizes, max_size=4),
        "data_offsets": st.lists(sizes, min_size=1, max_size=3),
    }
)
names = st.one_of(
    st.sampled_from([*SHAPES, "__metadata__"]), texts.map(lambda t: t.encode("utf-8", "replace").decode())
)


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A header that lies somewhere, and whether the file is still one of this network's weights."""
    size = int.from_bytes(VALID[:8], "little")
    header = json.loads(VALID[8 : 8 + size])
    text = ""
    honest = False
    match draw(
        st.sampled_from(("entry", "field", "metadata", "lost", "twice", "nested", "spaces", "order", "renamed"))
    ):
        case "entry":
            header[draw(names)] = draw(entries)
        case "field":
            entry = header[draw(st.sampled_from(list(header)))]
            changed = draw(entries)
            field = draw(st.sampled_from(("dtype", "shape", "data_offsets")))
            entry[field] = changed[field]
        case "metadata":
            header["__metadata__"] = {draw(names): draw(names) for _ in range(draw(st.integers(0, 5)))}
            honest = True
        case "lost":
            del header[draw(st.sampled_from(list(header)))]
        case "twice":
            name = draw(st.sampled_from(list(header)))
            text = json.dumps(header)[:-1] + f', "{name}": {json.dumps(draw(entries))}}}'
        case "nested":
            depth = draw(st.sampled_from((10, 127, 128, 1000, 20_000)))
            opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "1}"))))
            text = json.dumps(header)[:-1] + f', "deep": {opening * depth}{closing * depth}}}'
        case "spaces":
            text = json.dumps(header) + " " * draw(st.sampled_from((1, 7, 1000, 100_000)))
            honest = True
        case "order":
            header = {name: header[name] for name in draw(st.permutations(list(header)))}
            honest = True
        case _:
            header[draw(names)] = header.pop(draw(st.sampled_from(list(header))))
    return (text or json.dumps(header)).encode(), honest


@hostile(
    sample=100, many=9000, drawn=headers(), body=st.sampled_from((SIZE, SIZE, SIZE, 0, SIZE - 1, SIZE + 1, 2 * SIZE))
)
def test_headers_that_lie(drawn: tuple[bytes, bool], body: int, tmp_path: Path) -> None:
    header, honest = drawn
    data = file_of(header, (VALID[-SIZE:] * 2)[:body])
    path = tmp_path / "w"
    path.write_bytes(data)
    assert_read_or_refused(path, data, must_be_read=honest and body == SIZE)


floats = st.floats(width=32)  # not finite ones too


@hostile(
    sample=30,
    many=3000,
    values=st.lists(floats, min_size=4, max_size=4),
    dtype=st.sampled_from((np.float32, np.float64)),
)
def test_any_number_is_read_as_it_stands(values: list[float], dtype: type, tmp_path: Path) -> None:
    weights = {name: np.resize(np.array(values, dtype), shape) for name, shape in SHAPES.items()}
    data = save(weights)
    path = tmp_path / "w"
    path.write_bytes(data)
    assert_read_or_refused(path, data, must_be_read=True)


@hostile(
    sample=12, many=600, claimed=st.integers(0, 2**64 - 1), size=st.integers(8, 1 << 40),
    tensor=st.one_of(st.none(), st.sampled_from(list(SHAPES)), st.just("x")),
)  # fmt: skip
def test_claims_of_size_take_no_memory(claimed: int, size: int, tensor: str | None, tmp_path: Path) -> None:
    path = tmp_path / "w"
    header = json.dumps({tensor: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    data = claimed.to_bytes(8, "little") if tensor is None else file_of(header, b"")
    path.write_bytes(data)
    os.truncate(path, len(data) + size)  # a hole, which takes no room on the disk
    tracemalloc.start()
    try:
        assert repr(str(path)) in refusal(load_weights, path, SPEC)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_tensor_that_does_not_fit_is_not_read(tmp_path: Path) -> None:
    size = 1 << 26  # small enough to be mapped under any limit: the case above may be refused before it is
    path = tmp_path / "w"
    data = file_of({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}, b"")
    path.write_bytes(data)
    os.truncate(path, len(data) + size)
    tracemalloc.start()
    try:
        assert "unexpected x" in refusal(load_weights, path, SPEC)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_header_is_no_longer_than_a_network_needs(tmp_path: Path) -> None:
    path = tmp_path / "w"
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path.write_bytes(file_of({f"x{number}": entry for number in range(30_000)}, b""))
    assert "this network needs no more than" in refusal(load_weights, path, SPEC)


@hostile(sample=40, many=2500, kind=st.sampled_from(KINDS), name=file_names.filter(lambda name: name != "beside"))
def test_anything_in_place_of_a_file(kind: str, name: str, tmp_path: Path) -> None:
    os.chdir(emptied(tmp_path / "place"))
    path = Path("w") if kind == "socket" else Path(name)  # a socket's path must be short
    put(kind, path, VALID)
    assert_read_or_refused(path, VALID, must_be_read=kind in ("file", "link"))


@hostile(sample=60, many=4000, path=paths)
def test_paths_that_are_not_there(path: str, tmp_path: Path) -> None:
    os.chdir(emptied(tmp_path / "place"))
    assert refusal(load_weights, path, SPEC).endswith("; write it with save_weights")
