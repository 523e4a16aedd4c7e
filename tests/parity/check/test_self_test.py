"""The check, checked: a part of the self-test that fits into CI; `make self-test` runs the whole."""

from typing import Any

import pytest

from parity.backend import sibling_names
from parity.check.catalogue import CATALOGUE
from parity.check.config import CheckConfig
from parity.check.fixed_rules import RULES
from parity.check.self_test import SelfTestCase, SelfTestReport, self_test, spec_of
from parity.sides import open_side
from parity.spec import ModelSpec

# Of each question, and of each kind of probe; that each is named is tested on the reference, and by `make self-test`.
FAULTS = (
    "zero_initial_scale",
    "fast_variance",
    "debiased_statistics",
    "eval_updates_statistics",
    "population_leak",
    "tf32_matmul",
)
VARIANTS = ("as_it_is", "another_summation_order", "stock_norm")
FEWER = ("tf32_matmul", "stock_norm")  # in JAX, where each is compiled, which takes most of the time
# As wide as the partial batch is long, so that two probes share what is compiled.
CONFIG = CheckConfig(depths=(1,), spec=ModelSpec(hidden_width=21))


@pytest.mark.parametrize("framework", sibling_names())
def test_faults_are_caught_and_named_and_honest_variants_are_not_flagged(framework: str) -> None:
    names = FEWER if framework == "jax" else FAULTS + VARIANTS
    report = self_test(CONFIG, frameworks=(framework,), names=names)
    assert [case.name for case in report.faults] == [name for name in CATALOGUE if name in names]
    assert [(case.name, case.named) for case in report.faults if not case.right] == []
    assert [(case.name, case.where) for case in report.variants if case.flagged] == []
    assert len(report.variants) == len(set(names) - set(CATALOGUE))
    assert report.passed
    assert all(case.rules.keys() == RULES.keys() for case in report.cases)


def test_two_threads_are_two_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with open_side(spec_of("torch", threads=2)) as side:
        assert side.call(count_threads) == 2


def count_threads(backend: Any) -> int:
    del backend
    import torch

    return torch.get_num_threads()


def case(honest: bool, flagged: bool, named: str | None = None) -> SelfTestCase:
    return SelfTestCase(framework="x", depth=1, name="f", honest=honest, flagged=flagged, named=named)


@pytest.mark.parametrize(
    ("cases", "passed"),
    [
        ((case(False, True, "f"), case(True, False)), True),
        ((case(False, False), case(True, False)), False),  # not caught
        ((case(False, True, "g"), case(True, False)), False),  # caught, and named wrongly
        ((case(False, True, "f"), case(True, True)), False),  # an honest variant flagged
        ((*[case(False, True, "f")] * 19, case(False, True, "unexplained")), True),  # 95% named
        ((*[case(False, True, "f")] * 18, *[case(False, True, "g")] * 2), False),
        ((case(True, False),), False),  # no fault at all
    ],
)
def test_it_passes_only_if_every_fault_is_caught_and_nothing_honest_flagged(cases, passed: bool) -> None:
    assert SelfTestReport(cases=cases).passed is passed
