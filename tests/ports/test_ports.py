"""The check on ports that it has not seen: honest ones agree, and of the faults a sample is caught and not misnamed.

`make unseen-faults` puts all of them to it, on networks of the usual size.
"""

import importlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from parity import CheckConfig, ModelSpec, draw_weights
from parity.reference import NumpyBackend

from .cases import HONEST_KIND, Case, Row, all_cases, judge, judged_fault
from .collection import FAULTS, FLOAT32, Candidate

SMALL = ModelSpec(input_dim=12, hidden_width=7, output_dim=5)
# The partial batch, 7 of 10, is as long as the network is wide: two probes share what is compiled.
CONFIG = CheckConfig(spec=SMALL, depths=(2,), batch_norm=(True,), batch_size=10)
CASES = {case.name: case for case in all_cases()}
SAMPLE = (
    "backward_without_mean",
    "cached_batch_size",
    "eps_in_one_layer_float32",
    "evaluation_cached_by_content",
    "gradients_not_zeroed_float32",
    "late_statistics",
    "leaky_relu",
    "nesterov_float32",
    "random_noise_float32",
    "relu_derivative_half",
    "shared_statistics",
    "weight_decay_and_momentum",
)


def candidate(case: Case) -> Candidate:
    module, _, name = case.target.partition(":")
    return getattr(importlib.import_module(module), name)()


def asked(case: Case, *questions: str) -> Row:
    """In this process: a framework's start would take longer than the check."""
    config = replace(CONFIG, questions=questions or CONFIG.questions)
    return judge(replace(case, target=candidate(case)), config, NumpyBackend())


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.kind == HONEST_KIND], ids=lambda case: case.name)
def test_an_honest_port_agrees_or_is_asked_in_vain(case: Case) -> None:
    row = asked(case)
    assert row.right, str(row)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_is_caught_placed_and_not_misnamed(name: str) -> None:
    case = CASES[name]
    row = asked(case, "semantic" if "float64" in case.offers else "precision")
    assert row.right, str(row)


def test_a_port_that_cannot_start_is_a_row() -> None:
    row = judge(replace(CASES["nesterov"], target="ports.absent:nothing"), CONFIG, NumpyBackend())
    assert (row.verdict, row.mark) == ("crash", "MISSED")
    assert "cannot be loaded" in row.evidence


@pytest.mark.parametrize("name", ["nesterov", "flax_nesterov_float32", "optax_nesterov"])
def test_a_faulty_port_is_given_by_its_name(name: str) -> None:
    offered = candidate(CASES[name]).dtypes
    assert offered == (FLOAT32 if name.endswith("_float32") else ("float32", "float64"))
    with pytest.raises(AttributeError):
        candidate(replace(CASES[name], target=CASES[name].target.replace("nesterov", "absent")))


def test_every_fault_is_a_learner_of_its_own() -> None:
    assert len(FAULTS) >= 60
    spec = replace(SMALL, num_hidden_layers=1)
    for case in CASES.values():
        learner = candidate(case).learner(replace(spec, **case.spec), draw_weights(spec, 0), "float32")
        assert learner.weights().keys() == draw_weights(spec, 0).keys(), case.name


@pytest.mark.parametrize("name", sorted(case.name for case in CASES.values() if case.kind == HONEST_KIND))
def test_an_honest_port_copies_what_it_is_given_and_gives(name: str) -> None:
    spec = replace(SMALL, num_hidden_layers=2, **CASES[name].spec)
    given, rng = draw_weights(spec, 0), np.random.default_rng(0)
    learner = candidate(CASES[name]).learner(spec, given, "float32")
    first = learner.weights()
    kept = {name: array.copy() for name, array in first.items()}
    step = learner.train_step(rng.standard_normal((6, 12)), np.arange(6) % 5, 0.1)
    shown = {name: array.copy() for name, array in step.gradients.items()}
    learner.train_step(rng.standard_normal((6, 12)), np.arange(6) % 5, 0.1)
    for before, after in ((given, draw_weights(spec, 0)), (first, kept), (step.gradients, shown)):
        assert all(np.array_equal(before[name], after[name]) for name in after)


def test_a_known_fault_beside_an_unknown_one_must_be_named() -> None:
    fault = FAULTS["known_beside_unknown"]
    first = row_of(tensor="running mean")
    assert judged_fault(replace(first, causes=("unexplained", "default_momentum")), fault).mark == "ok"
    assert judged_fault(replace(first, causes=("unexplained",)), fault).mark == "NAME"


def row_of(*, verdict: str = "disagree", causes: Sequence[str] = (), **place: object) -> Row:
    first = {"step": 0, "layer": 0, "tensor": "updated kernel", "role": "candidate"} | place
    return Row(case="nesterov", kind="", port="", verdict=verdict, first_divergence=first, causes=tuple(causes))


@pytest.mark.parametrize(
    ("row", "mark"),
    [
        (row_of(causes=["nesterov"]), "ok"),
        (row_of(causes=["unexplained"]), "ok"),
        (row_of(causes=["nesterov", "scaled_learning_rate"]), "NAME"),
        (row_of(causes=["reference: unexplained"]), "NAME"),
        (row_of(causes=["nesterov"], role="reference"), "PLACE"),
        (row_of(causes=["nesterov"], tensor="gradient of kernel"), "PLACE"),
        (row_of(causes=["nesterov"], step=3), "PLACE"),
        (row_of(verdict="agree"), "MISSED"),
        (row_of(verdict="incomplete"), "MISSED"),
    ],
)
def test_a_fault_that_is_not_caught_placed_and_named_right_is_told_apart(row: Row, mark: str) -> None:
    assert judged_fault(row, FAULTS["nesterov"]).mark == mark
