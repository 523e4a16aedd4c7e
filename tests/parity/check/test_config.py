"""What a check is asked: NumPy's numbers and arrays are as good as Python's, and what breaks a rule is one line."""

from typing import Any

import numpy as np
import pytest

from parity import CheckConfig, InputError


def test_arrays_lists_and_numpys_numbers_become_pythons_own() -> None:
    given: Any = CheckConfig(
        depths=np.arange(1, 4),  # pyright: ignore[reportArgumentType]
        batch_norm=[np.True_],  # pyright: ignore[reportArgumentType]
        questions=np.array(["semantic"]),  # pyright: ignore[reportArgumentType]
        sampled_steps=range(2),  # pyright: ignore[reportArgumentType]
        seed=np.int64(3),  # pyright: ignore[reportArgumentType]
        learning_rate=np.float64(0.1),
    )
    plain = CheckConfig(
        depths=(1, 2, 3), batch_norm=(True,), questions=("semantic",), sampled_steps=(0, 1), seed=3, learning_rate=0.1
    )
    assert repr(given) == repr(plain)
    assert hash(given) == hash(plain)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("depths", 3, r"depths must be a tuple, such as \(3,\), got 3"),
        ("depths", np.int64(3), r"depths must be a tuple, such as \(3,\), got 3"),
        ("depths", np.ones((2, 2), int), "depths must be a tuple of single values"),
        ("depths", [None], "depths must be a tuple of single values"),
        ("depths", np.array([1.5]), "a depth must be an integer of at least 1 .*, got 1.5"),
        ("batch_norm", ("on",), "batch_norm must be of True, False, got 'on'"),
        ("questions", "semantic", r"questions must be a tuple, such as \('semantic',\)"),
        ("dtypes", [{}], "dtypes must be a tuple of single values"),
        ("sampled_steps", [0, 0.5], "a sampled step must be an integer"),
        ("time_limit", "long", "the time limit must be above 0 seconds, got 'long'"),
        ("dtypes", (), "dtypes must name at least one value, got none"),
        ("accept", "fast_variance", r"accept must be a tuple, such as \('fast_variance',\)"),
        ("accept", ("nosuch",), "no accepted difference is named 'nosuch'; choose one of"),
    ],
)
def test_what_breaks_a_rule_is_one_line(field: str, value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        CheckConfig(**{field: value})
