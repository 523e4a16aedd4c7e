"""Fixtures that every test may use: one backend after the other, and the rule for tests on real data."""

import gc
import os
import signal
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from parity.backend import Backend, backend_names, load_backend
from parity.data import fashion_mnist

# OpenMP threads that wait by spinning make Torch ten times slower where another process wants a core.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


# Most tests compile what another has compiled, in another process perhaps: JAX keeps it for all of them.
COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": "",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.02",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for it before there are other processes, which find it in their environment."""
    if not hasattr(config, "workerinput") and COMPILED.keys().isdisjoint(os.environ):
        folder = TemporaryDirectory(prefix="bnparity-tests-", ignore_cleanup_errors=True)
        os.environ.update(COMPILED | {"JAX_COMPILATION_CACHE_DIR": folder.name})
        config.add_cleanup(folder.cleanup)


def pytest_collection_finish() -> None:
    """Let the garbage collector look less often, and not at what the libraries hold: it took a 20th of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


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
