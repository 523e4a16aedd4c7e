"""The fixture `assert_parity`, for the tests of any project that has `bnparity` installed.

Pytest loads this in every run, so it imports the rest only at the first use.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def assert_parity() -> Callable[..., Any]:
    """The function `parity.assert_parity`: asserts that two implementations compute the same."""
    from parity.assertion import assert_parity

    return assert_parity
