"""The catalogue against what can be injected, and what each row says of when it applies."""

import re
from dataclasses import replace
from typing import Any

import pytest

from parity.backend import Backend, backend_names
from parity.check.catalogue import CATALOGUE
from parity.check.evidence import EVIDENCE
from parity.check.fits import FITS
from parity.check.port_faults import PORT_FAULTS
from parity.faults import NEUTRAL_FAULTS
from parity.reference.faults import FAULTS
from parity.reference.training_faults import TRAINING_FAULTS
from parity.spec import ModelSpec

SPEC = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=8)


def test_every_fault_has_a_row_and_every_row_a_fault() -> None:
    assert CATALOGUE.keys() == NEUTRAL_FAULTS.keys() | FAULTS.keys()
    assert not NEUTRAL_FAULTS.keys() & FAULTS.keys()


def test_every_backend_takes_every_fault(backend: Backend) -> None:
    faulty: Any = backend
    for name in CATALOGUE.keys() - (() if backend.name == "numpy" else TRAINING_FAULTS.keys()):
        assert faulty.with_fault(name).parts != faulty.parts, name


def test_the_rows_that_no_sibling_can_be_given_are_the_references_own_faults() -> None:
    assert {row.name for row in PORT_FAULTS} == TRAINING_FAULTS.keys()


def test_the_frameworks_are_among_the_backends() -> None:
    assert {"jax", "torch", "numpy"} <= set(backend_names())


def test_every_row_says_what_is_wrong_and_what_it_leaves() -> None:
    for name, row in CATALOGUE.items():
        assert row.name == name
        assert re.fullmatch("[a-z0-9]+(_[a-z0-9]+)*", name)
        assert len(row.what) > 5, name
        assert len(row.signature) > 5, name
        assert row.shows_in in ("inputs", "semantic", "precision"), name
    for column in ("what", "signature"):
        assert len({getattr(row, column) for row in CATALOGUE.values()}) == len(CATALOGUE), column


def test_fits_and_evidence_are_of_rows() -> None:
    assert FITS.keys() <= CATALOGUE.keys()
    assert EVIDENCE.keys() <= CATALOGUE.keys()


def test_rows_on_inputs_replace_the_inputs_and_no_other_rows_do() -> None:
    parts = {name: part for name, (part, _) in (NEUTRAL_FAULTS | dict(FAULTS)).items()}
    assert {name for name, part in parts.items() if part == "inputs"} == {
        name for name, row in CATALOGUE.items() if row.shows_in == "inputs"
    }


WITHOUT_NORM = {
    "biased_pixel_std", "test_statistics_leak", "shifted_batches", "misaligned_labels", "transposed_kernel",
    "missing_bias", "summed_loss", "double_softmax", "label_smoothing", "weight_decay", "heavy_ball",
    "scaled_learning_rate", "bfloat16_matmul", "tf32_matmul", "leaky_slope", "clipped_activation", "relu_at_zero",
    "naive_softmax", "clipped_log", "accumulated_gradients", "untrained_parameter",
    "gradients_after_update", "clipped_gradients", "clipped_gradient_values", "nesterov", "warmup",
    "momentum_and_decay", "adam",
}  # fmt: skip


def applying(**fields: Any) -> set[str]:
    spec = replace(SPEC, **fields)
    return {name for name, row in CATALOGUE.items() if row.applies(spec)}


def test_rows_apply_to_networks_that_can_have_them() -> None:
    assert applying(use_batch_norm=False) == WITHOUT_NORM
    everything = set(CATALOGUE) - {"unscaled_dropout", "tied_kernels"}
    assert applying(dropout_rate=0.1) - applying() == {"unscaled_dropout"}
    assert applying() == everything - {"unbiased_running_variance"}
    assert applying(running_variance="biased") == everything - {"biased_running_variance"}
    assert applying(decay=0.5) == everything - {"unbiased_running_variance", "swapped_momentum"}
    assert "transposed_kernel" not in applying(num_hidden_layers=1)
    assert "transposed_kernel" in applying(num_hidden_layers=1, hidden_width=12)


def test_rows_do_not_apply_where_they_are_no_fault() -> None:
    assert "default_momentum" not in applying(decay=0.99)
    assert "wrong_decay" not in applying(decay=0.95)
    assert "wrong_epsilon" not in applying(eps=1e-3)
    assert "transposed_kernel" not in applying(hidden_width=1)
    none = {"last_batch_statistics", "debiased_statistics", "stale_statistics", "double_update", "swapped_momentum"}
    assert not none & applying(decay=0.0)


@pytest.mark.parametrize(
    ("special", "general"),
    [
        ("swapped_momentum", "wrong_decay"), ("default_momentum", "wrong_decay"), ("double_update", "wrong_decay"),
        ("last_batch_statistics", "wrong_decay"), ("frozen_running_statistics", "wrong_decay"),
        ("biased_running_variance", "wrong_decay"),
    ],
)  # fmt: skip
def test_a_special_case_stands_before_the_general(special: str, general: str) -> None:
    order = list(CATALOGUE)
    assert order.index(special) < order.index(general)
