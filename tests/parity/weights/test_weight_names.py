"""Names and shapes of the neutral weight dictionary, and whether weights fit them."""

from typing import Any

import numpy as np
import pytest
from weight_cases import NORM, SPEC, refusal

from parity.spec import ModelSpec
from parity.weights import cast_weights, check_weights, draw_weights, is_statistic, select_arrays, weight_shapes


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_names_and_shapes_follow_the_forward_pass(depth: int) -> None:
    spec = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=depth, hidden_width=4)
    expected = []
    for i in range(depth):
        expected += [(f"hidden.{i}.kernel", (4 if i else 6, 4)), (f"hidden.{i}.bias", (4,))]
        expected += [(f"hidden.{i}.{leaf}", (4,)) for leaf in NORM]
    expected += [("head.kernel", (4, 3)), ("head.bias", (3,))]
    assert list(weight_shapes(spec).items()) == expected

    plain = ModelSpec(input_dim=6, output_dim=3, num_hidden_layers=depth, hidden_width=4, use_batch_norm=False)
    assert list(weight_shapes(plain).items()) == [pair for pair in expected if not pair[0].endswith(NORM)]


def test_running_statistics_are_the_only_ones() -> None:
    statistics = [name for name in weight_shapes(SPEC) if is_statistic(name)]
    assert statistics == [f"hidden.{i}.{leaf}" for i in (0, 1) for leaf in ("running_mean", "running_var")]


def test_everything_that_does_not_fit_is_listed_at_once() -> None:
    weights: dict[str, Any] = draw_weights(SPEC, seed=0)
    del weights["head.bias"], weights["hidden.1.gamma"]
    weights |= {"hidden.2.bias": np.zeros(4, np.float32), "hidden.0.kernel": weights["hidden.0.kernel"].T}
    weights |= {"hidden.0.beta": np.zeros(4, np.int64), "head.kernel": np.zeros((4, 3), np.float16)}
    assert refusal(check_weights, weights, SPEC) == (
        "weights do not fit the network: head.kernel has dtype float16 instead of float32 or float64; "
        "hidden.0.beta has dtype int64 instead of float32 or float64; "
        "hidden.0.kernel has shape (4, 6) instead of (6, 4); "
        "missing head.bias; missing hidden.1.gamma; unexpected hidden.2.bias"
    )


def test_mixed_dtypes_are_refused() -> None:
    weights = draw_weights(SPEC, seed=0)
    weights["head.bias"] = weights["head.bias"].astype(np.float64)
    message = refusal(check_weights, weights, SPEC)
    assert message == "weights do not fit the network: the dtypes float32 and float64 are mixed (convert all to one)"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_that_fit_are_accepted(dtype: str) -> None:
    check_weights(cast_weights(draw_weights(SPEC, seed=0), dtype), SPEC)


def test_a_cast_shares_nothing() -> None:
    weights = draw_weights(SPEC, seed=0)
    for name, array in cast_weights(weights, "float32").items():
        assert not np.shares_memory(array, weights[name])
        np.testing.assert_array_equal(array, weights[name])
    assert {array.dtype for array in cast_weights(weights, "float64").values()} == {np.dtype(np.float64)}


def test_selected_arrays_are_copies_under_their_new_names() -> None:
    native = {"a": np.ones(2), "b": np.zeros(3)}
    selected = select_arrays(native, {"head.bias": "b", "head.kernel": "a"})
    assert list(selected) == ["head.bias", "head.kernel"]
    assert not np.shares_memory(selected["head.bias"], native["b"])
    assert selected["head.kernel"].tolist() == [1, 1]


def test_a_table_of_names_that_does_not_fit_is_refused_with_every_name() -> None:
    message = refusal(select_arrays, {"a": 1, "c": 2, "d": 3}, {"x": "a", "y": "b", "z": "e"})
    assert message == (
        "weights do not fit the table of names: missing b; missing e; unexpected c; unexpected d; "
        "add what is missing, remove what the network does not have"
    )
