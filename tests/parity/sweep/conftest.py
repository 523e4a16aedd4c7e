"""What the tests of a sweep share."""

import pytest

from parity.data import StandardizedData, load_dataset, standardize


@pytest.fixture(scope="session")
def small_data() -> StandardizedData:
    """The built-in data set, as a sweep with `fraction=0.05` sees it: 500 samples, 16 updates a pass."""
    return standardize(load_dataset("synthetic"), 0.05)
