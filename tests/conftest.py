"""Fixtures that every test may use: one backend after the other, and the rule for tests on real data."""

import os
import signal
from collections.abc import Iterator

import pytest

from parity.backend import Backend, backend_names, load_backend
from parity.data import fashion_mnist

# OpenMP threads that wait by spinning make Torch ten times slower where another process wants a core.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


@pytest.fixture(params=backend_names())
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend that is declared, the NumPy reference among them."""
    return load_backend(request.param)


@pytest.fixture(params=[name for name in backend_names() if name != "numpy"])
def framework(request: pytest.FixtureRequest) -> Backend:
    """Every backend but the reference."""
    return load_backend(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the data, tests on it skip; in CI they run, and fail."""
    present = any(folder.is_dir() for folder in (place.folder for place in fashion_mnist.search_places()))
    if present or os.environ.get("CI") == "true":
        return
    skip = pytest.mark.skip(reason="Fashion-MNIST is not on this machine; `make data` gets it")
    for item in items:
        if item.get_closest_marker("fashion_mnist"):
            item.add_marker(skip)


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """A child inherits an ignored Ctrl-C, as a test run in the background has it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
