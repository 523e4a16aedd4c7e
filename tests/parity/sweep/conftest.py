"""What the tests of a sweep share."""

from collections.abc import Callable

import pytest

from parity.backend import Backend
from parity.data import Dataset, StandardizedData, load_dataset, standardize
from parity.sweep import prepare


@pytest.fixture(scope="session")
def synthetic() -> Dataset:
    """The built-in data set."""
    return load_dataset("synthetic")


@pytest.fixture(scope="session")
def small_data(synthetic: Dataset) -> StandardizedData:
    """The built-in data set, as a sweep with `fraction=0.05` sees it: 500 samples, 16 updates a pass."""
    return standardize(synthetic, 0.05)


@pytest.fixture
def use_backend(synthetic: Dataset, monkeypatch: pytest.MonkeyPatch) -> Callable[[Backend], None]:
    """Makes every framework of a sweep the given backend. The data is drawn once."""

    def use(backend: Backend) -> None:
        monkeypatch.setattr(prepare, "load_backend", lambda name: backend)
        monkeypatch.setattr(prepare, "load_dataset", lambda name, data_dir: synthetic)

    return use
