"""A small stand-in for Fashion-MNIST's four files, with the same names and rules."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from parity.data import fashion_mnist
from parity.data.idx import FileSpec

SHAPES = {
    "train-images-idx3-ubyte": (30, 28, 28),
    "train-labels-idx1-ubyte": (30,),
    "t10k-images-idx3-ubyte": (10, 28, 28),
    "t10k-labels-idx1-ubyte": (10,),
}


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Contents by name; `fashion_mnist` expects these files instead of the real ones."""
    generator = np.random.default_rng(0)
    contents, specs = {}, []
    for name, shape in SHAPES.items():
        header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        contents[name] = header + generator.integers(10, size=shape, dtype=np.uint8).tobytes()
        specs.append(FileSpec(name, shape, hashlib.sha256(contents[name]).hexdigest()))
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(specs))
    return contents


@pytest.fixture
def places(small_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The folders that are searched, cache and debian, moved to `tmp_path`; they do not exist yet."""
    monkeypatch.setattr(fashion_mnist, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    return {"cache": tmp_path / "cache" / "FashionMNIST" / "raw", "debian": tmp_path / "debian"}
