"""The first agreement: three implementations, run freely, stay together as closely as rounding lets them."""

from typing import Any

import numpy as np
import pytest
from noise import Twins, excesses, observed

import parity
from parity.backend import Backend, load_backend, sibling_names
from parity.check.config import QUESTIONS
from parity.data import IndexStream, load_dataset, standardize
from parity.reference import NumpyBackend
from parity.spec import ModelSpec
from parity.weights import cast_weights, draw_weights

STEPS = 100
LEARNING_RATE = 0.1


@pytest.fixture(scope="module", params=["synthetic", pytest.param("fashion-mnist", marks=pytest.mark.fashion_mnist)])
def data(request: pytest.FixtureRequest):
    return standardize(load_dataset(request.param))


REMEDIES = {
    "none": {},
    "residual": {"residual": True},
    "dropout": {"dropout_rate": 0.3},
    "both, norm first": {"residual": True, "dropout_rate": 0.5, "block_order": "norm_first"},
}


@pytest.mark.parametrize("remedies", REMEDIES.values(), ids=REMEDIES)
def test_narrow_networks_agree_with_and_without_remedies(framework: Backend, remedies: dict[str, Any]) -> None:
    config = parity.CheckConfig(
        spec=ModelSpec(hidden_width=7, **remedies),
        batch_size=12,  # whose partial batch is as long as the network is wide, which saves a program
        depths=(2,),
        batch_norm=(True,) if remedies else (True, False),
        # The last question takes longest; the reference trains in float64 only.
        questions=QUESTIONS if len(remedies) == 3 else QUESTIONS[:3],
        dtypes=("float32", "float64") if len(remedies) == 3 else ("float32",),
        free_run_updates=20,
        statistical_seeds=2,
    )
    report = parity.check(NumpyBackend(), framework, config=config)
    assert (report.verdict, report.failed_question) == ("agree", None)
    shown = {measurement.tensor for measurement in report.measurements}
    assert ("block output" in shown) == spec_has(config, "residual")
    assert ("dropout output" in shown) == spec_has(config, "dropout_rate")


def spec_has(config: parity.CheckConfig, field: str) -> bool:
    return bool(getattr(config.spec, field))


@pytest.mark.parametrize("use_batch_norm", [False, True])
@pytest.mark.parametrize("depth", [1, 3, 8])
def test_free_runs_stay_within_a_small_multiple_of_one_ulp_twins(data, depth: int, use_batch_norm: bool) -> None:
    """All frameworks beside the same twins, which take most of the time."""
    spec = ModelSpec(num_hidden_layers=depth, use_batch_norm=use_batch_norm)
    weights = draw_weights(spec, seed=0)
    learners = {name: load_backend(name).learner(spec, weights, "float64") for name in sibling_names()}
    twins = Twins(spec, cast_weights(weights, "float64"))
    stream = IndexStream(len(data.train_labels), 32, seed=0)
    for t, batch in enumerate(stream.next_pass()[:STEPS]):
        inputs, labels = data.train_inputs[batch].astype(np.float64), data.train_labels[batch]
        expected, limits = twins.step(inputs, labels, LEARNING_RATE)
        for name, learner in learners.items():
            step = learner.train_step(inputs, labels, LEARNING_RATE)
            found = excesses(observed(step, learner.weights()), expected, limits)
            assert not found, f"{name}, step {t}: {found}"
