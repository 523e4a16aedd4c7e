"""Convolution reviewed: the lab's sizes, in every framework and in its own order of axes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lab_config import small_config, words

from parity.backend import backend_names, load_backend
from parity.lab import Table, convolution
from parity.lab.convolution import SETTINGS, output_size
from parity.lab.convolution_layer import SHOWN


@pytest.fixture(scope="module")
def results() -> dict[str, convolution.Measured]:
    names = [name for name in backend_names() if name != "numpy"]
    return {name: convolution.measure(load_backend(name), small_config(name)) for name in names}


def test_the_formula_gives_the_lab_s_sizes() -> None:
    assert output_size(224, 5, padding=3, stride=3) == 76
    assert output_size(574, 5) == 570


def test_every_layer_has_the_formula_s_size(results: dict[str, convolution.Measured]) -> None:
    assert len(SETTINGS) > 20
    for found in results.values():
        for setting, output in zip(SETTINGS, found.outputs, strict=True):
            assert output.shape == (2, output_size(*setting), output_size(*setting), 4)


def test_each_framework_has_its_own_order_of_axes(results: dict[str, convolution.Measured]) -> None:
    shapes = {name: [large[:2] for large in found.large] for name, found in results.items()}
    assert shapes["torch"] == [((1, 16, 76, 76), (16, 3, 5, 5)), ((8, 16, 570, 570), (16, 3, 5, 5))]
    assert shapes["jax"] == [((1, 76, 76, 16), (5, 5, 3, 16)), ((8, 570, 570, 16), (5, 5, 3, 16))]


def test_the_frameworks_give_the_same_values(results: dict[str, convolution.Measured]) -> None:
    one, other = results.values()
    # A sum of up to 75 products of normal numbers, of which none here is beyond 6, and a bias.
    limit = 76 * np.finfo(np.float64).eps * 76 * 36
    for a, b in zip(one.outputs, other.outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=limit)
    for (_, _, a), (_, _, b) in zip(one.large, other.large, strict=True):
        # A sum of millions of float32 values of about 9 each: rounding is independent, so its root counts.
        assert abs(a - b) < 76 * np.finfo(np.float32).eps * 9 * np.sqrt(8 * 16 * 570 * 570)


def test_batch_norm_over_channels_has_the_same_running_statistics(results: dict[str, convolution.Measured]) -> None:
    one, other = results.values()
    np.testing.assert_allclose(one.statistics, other.statistics, rtol=50 * 294 * np.finfo(np.float64).eps)
    # Means of 0, 5, -3 and 100 with standard deviations of 1, 2, 0.1 and 10: what 294 pixels a batch and a decay of 0.9
    # leave is within six standard deviations.
    expected = 0.9**50 * np.array([np.zeros(4), np.ones(4)]) + (1 - 0.9**50) * np.array(
        [[0, 5, -3, 100], [1, 4, 0.01, 100]]
    )
    spread = np.array([[1, 2, 0.1, 10], np.sqrt(2) * np.array([1, 4, 0.01, 100])]) * np.sqrt(0.1 / 1.9 / 294)
    assert (np.abs(one.statistics - expected) < 6 * spread).all()


def test_the_text_tells_a_wrong_size(results: dict[str, convolution.Measured]) -> None:
    name, found = next(iter(results.items()))

    def text(outputs: Any) -> str:
        return words(convolution.section({name: replace(found, outputs=outputs)}, small_config(), "a command"))

    assert "are all those of the formula" in text(found.outputs)
    assert "NOT all" in text((found.outputs[0][:, 1:], *found.outputs[1:]))


def test_the_layer_that_is_shown_gives_what_the_lab_says(results: dict[str, convolution.Measured]) -> None:
    sizes = {(574, 3, 3): 192, (574, 1, 0): 570, (224, 3, 3): 76}
    weights = {"torch": {"weight": (16, 3, 5, 5), "bias": (16,)}, "jax": {"kernel": (5, 5, 3, 16), "bias": (16,)}}
    for name, found in results.items():
        for (images, *setting), shown in zip(SHOWN, found.shown.outputs, strict=True):
            size, stride, padding = setting
            side = sizes[size, stride, padding]
            assert shown == weights[name] | {"module": True, "output": found_shape(name, images, side)}
        layer = found.shown
        assert all(f"{own}=" in layer.listing.source for own in layer.arguments.values() if own)


def found_shape(name: str, images: int, side: int) -> tuple[int, ...]:
    return (images, 16, side, side) if name == "torch" else (images, side, side, 16)


def test_the_page_says_what_the_shown_layer_gives(results: dict[str, convolution.Measured]) -> None:
    name, found = next(iter(results.items()))

    def section(shown: Any) -> Any:
        layer = replace(found.shown, outputs=shown)
        return convolution.section({name: replace(found, shown=layer)}, small_config(), "a command")

    own = found.shown.outputs
    text = words(section(own))
    assert "= 192$" in text
    assert "= 570$" in text
    assert "ANOTHER" not in text
    (table,) = (b for b in section(own).blocks if isinstance(b, Table) and b.name == "convolution_parameters")
    assert {row[-1] for row in table.rows} == {"1,216"}
    assert {row[1] for row in table.rows} == {"yes"}
    wrong = {**own[0], "output": (1, 2, 2, 16)}
    assert "ANOTHER size" in words(section((wrong, *own[1:])))
