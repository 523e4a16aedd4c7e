"""Batch norm in action: the lab's numbers, in every framework."""

from typing import Any

import numpy as np
import pytest
from lab_config import small_config, words

from parity.lab import Table, batch_norm
from parity.lab.batch_norm import DECAYS, EPS, FRESH, SAMPLES, TINY_STD, USUAL, make_source, predicted_std

ULP = np.finfo(np.float64).eps


def rounding(batch: np.ndarray) -> np.ndarray:
    """What the mean of a batch can be off by, in units of its standard deviation: a sum of n terms, n roundings."""
    return len(batch) * ULP * np.abs(batch).max(axis=0) / batch.std(axis=0)


@pytest.fixture
def measured(framework: Any) -> batch_norm.Measured:
    return batch_norm.measure(framework, small_config(framework.name))


def test_before_training_evaluation_is_the_identity_up_to_eps(measured: batch_norm.Measured) -> None:
    batch = make_source().batch(0)
    np.testing.assert_allclose(measured.identity, batch / np.sqrt(1 + EPS), rtol=8 * ULP)
    assert np.abs(measured.identity / batch - 1).max() < EPS


def test_in_training_every_feature_has_mean_0_and_the_lab_s_standard_deviation(measured: batch_norm.Measured) -> None:
    batch = make_source().batch(0)
    assert batch.shape == measured.trained.shape == (25, 10)
    assert (np.abs(measured.trained.mean(axis=0)) <= 4 * rounding(batch)).all()
    std = measured.trained.std(axis=0, ddof=1)
    np.testing.assert_allclose(std, predicted_std(batch.var(axis=0), 25), rtol=float(8 * rounding(batch).max()))
    assert {f"{value:.4f}" for value in std[:-1]} == {"1.0206"}
    assert f"{np.sqrt(25 / 24):.4f}" == "1.0206"
    assert abs(batch[:, -1].std(ddof=1) - TINY_STD) < 1e-12
    assert abs(std[-1] - 1.0086) < 1e-4  # eps shows


def test_running_statistics_are_the_recursion(measured: batch_norm.Measured) -> None:
    source = make_source()
    for decay in DECAYS:
        mean, var, trace = np.zeros(10), np.ones(10), measured.traces[decay]
        np.testing.assert_array_equal(trace[0], [mean, var])
        for number, found in enumerate(trace[1:]):
            batch = source.batch(number)
            mean = decay * mean + (1 - decay) * batch.mean(axis=0)
            var = decay * var + (1 - decay) * batch.var(axis=0, ddof=1)
            # Each batch adds its own rounding, the newest by far the largest.
            slack = 4 * len(batch) * ULP * np.square(np.abs(batch).max(axis=0) + 1) * (number + 2)
            assert (np.abs(found - [mean, var]) <= slack).all()


def test_after_a_thousand_batches_evaluation_nearly_normalizes_fresh_data(framework: Any) -> None:
    evaluated = batch_norm.measure(framework, small_config(framework.name, norm_batches=1000)).evaluated
    # Six standard deviations of the running mean and of a batch's variance (2 / (n - 1) of its square), and of what
    # the fresh samples' own are off by.
    share = (1 - USUAL) / (1 + USUAL)
    assert np.abs(evaluated.mean(axis=0)).max() < 6 * np.sqrt(share / SAMPLES + 1 / FRESH)
    wavering = 6 * np.sqrt(share * 2 / (SAMPLES - 1) + 2 / FRESH) / 2
    assert np.abs(evaluated.std(axis=0) - 1)[:-1].max() < wavering


def test_the_table_has_every_feature_before_in_and_after_training(
    framework: Any, measured: batch_norm.Measured
) -> None:
    section = batch_norm.section({"one": measured}, small_config(framework.name), "a command")
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    cells = np.array(table.rows, dtype=float)
    assert table.header[0] == "feature"
    assert (cells[:, 0] == np.arange(10)).all()
    states = make_source().batch(0), measured.identity, measured.trained, measured.evaluated
    for place, state in enumerate(states):
        mean, std = cells[:, 1 + 2 * place], cells[:, 2 + 2 * place]
        # Shown are three decimals of a mean, or two digits of one below 1e-6, and four of a standard deviation.
        np.testing.assert_allclose(mean, state.mean(axis=0), rtol=0.06, atol=6e-4)
        np.testing.assert_allclose(std, state.std(axis=0, ddof=1), rtol=0, atol=6e-5)


def test_the_same_batch_is_shown_by_the_running_statistics(framework: Any, measured: batch_norm.Measured) -> None:
    mean, var = measured.traces[USUAL][-1]
    expected = (make_source().batch(0) - mean) / np.sqrt(var + EPS)
    np.testing.assert_allclose(
        measured.after, expected, rtol=8 * ULP, atol=float(8 * ULP * np.abs(mean / np.sqrt(var)).max())
    )


def test_the_text_says_what_the_layers_did(framework: Any, measured: batch_norm.Measured) -> None:
    section = batch_norm.section({framework.name: measured}, small_config(framework.name), "a command")
    text = words(section)
    assert "1.0206" in text
    assert "1.0087" in text
    assert f"{TINY_STD}" in text
