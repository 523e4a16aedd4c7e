"""The network of these tests, and what is said of bad input."""

from collections.abc import Callable
from typing import Any

import pytest

from parity.errors import InputError
from parity.spec import ModelSpec

SPEC = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=2, hidden_width=4)
NORM = ("gamma", "beta", "running_mean", "running_var")


def refusal(function: Callable[..., object], *arguments: Any, **keywords: Any) -> str:
    """What is said of bad input, in one line."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)
