"""Each re-implemented rule against the tool that it is from, or the definition where that is not installed."""

import numpy as np
import pytest
from numpy.typing import NDArray
from places import at, loss

from parity.check.fixed_rules import RULES, objections
from parity.verdict.trace import Array, Key, Kind, Trace

TENSORS = np.array([1e-3, 1.0, -50.0, 3e4])
TORCH, CHEX, NUMPY, LOOSE, DYNAMO = RULES
# Relative errors and absolute ones on both sides of every rule's edge.
ERRORS = [0.0, 5e-7, 9e-7, 1.1e-6, 1.2e-6, 1.4e-6, 9e-6, 1.1e-5, 9e-4, 1.1e-3, 0.1]


def objects(rule: str, actual: NDArray, expected: NDArray, exact: NDArray | None = None) -> bool:
    return RULES[rule](actual, expected, expected if exact is None else exact)


def raises(function, *arguments, **options) -> bool:
    try:
        function(*arguments, **options)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("value", TENSORS)
def test_numpys_rules_are_numpys(value: float, error: float) -> None:
    for actual in (np.array([value * (1 + error)]), np.array([value + error])):
        expected = np.array([value])
        assert objects(NUMPY, actual, expected) == (not np.allclose(actual, expected))
        own = raises(np.testing.assert_allclose, actual, expected, rtol=1e-3)
        assert objects(LOOSE, actual, expected) == own


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("value", TENSORS)
def test_torchs_rule_is_torchs(value: float, error: float) -> None:
    torch = pytest.importorskip("torch")
    # In float64 with float32's tolerances, so that no rounding of the case itself decides.
    tolerances = {"rtol": 1.3e-6, "atol": 1e-5}
    for actual in (np.array([value * (1 + error)]), np.array([value + error])):
        expected = np.array([value])
        own = raises(torch.testing.assert_close, torch.tensor(actual), torch.tensor(expected), **tolerances)
        assert objects(TORCH, actual, expected) == own


def test_torchs_tolerances_are_those_of_float32() -> None:
    torch = pytest.importorskip("torch")
    expected = torch.tensor([64.0])
    for ulps in range(1, 25):  # of 2**-17; the edge is at 1e-5 + 1.3e-6 * 64 = 9.3e-5
        actual = expected + ulps * 2.0**-17
        own = raises(torch.testing.assert_close, actual, expected)
        ours = objects(TORCH, actual.double().numpy(), expected.double().numpy())
        assert ours == own


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("value", TENSORS)
def test_chexs_rule_is_chexs(value: float, error: float) -> None:
    chex = pytest.importorskip("chex")
    expected = np.array([value])
    for actual in (np.array([value * (1 + error)]), np.array([value + error])):
        own = raises(chex.assert_trees_all_close, {"a": actual}, {"a": expected})
        assert objects(CHEX, actual, expected) == own


def test_rules_are_named_after_their_tools() -> None:
    for name, word in (
        (TORCH, "assert_close"),
        (CHEX, "chex"),
        (NUMPY, "allclose"),
        (LOOSE, "1e-3"),
        (DYNAMO, "Dynamo"),
    ):
        assert word in name


@pytest.mark.parametrize(("size", "multiple"), [(999, 3.0), (1000, 2.0)])
def test_dynamos_rule_is_its_formula(size: int, multiple: float) -> None:
    rule, exact = DYNAMO, np.zeros(size)
    expected = exact + 1.0  # rmse 1
    allowed = multiple + 1e-5
    assert not objects(rule, exact + allowed * (1 - 1e-12), expected, exact)
    assert objects(rule, exact + allowed * (1 + 1e-12), expected, exact)
    assert not objects(rule, exact + 0.9e-5, exact, exact)
    assert objects(rule, exact + 1.1e-5, exact, exact)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_objects_to_what_is_not_finite(rule: str) -> None:
    with np.errstate(invalid="ignore"):
        assert objects(rule, np.array([np.nan]), np.array([1.0]))
        assert objects(rule, np.array([np.inf]), np.array([1.0]))


def test_one_tensor_that_all_show_is_enough_to_object() -> None:
    near, far = at("hidden.0.norm"), loss()
    residue = at("hidden.0.bias", Kind.INCREMENT, 1)
    base: dict[Key, Array] = {near: np.ones(3), far: np.ones(()), residue: np.zeros(3)}
    exact = Trace(base, scales={residue: np.ones(3)})
    assert objections([Trace(base)], [Trace(base)], [exact]) == dict.fromkeys(RULES, False)
    wrong = Trace(base | {far: np.array(2.0)})
    assert objections([Trace(base), wrong], [Trace(base)] * 2, [exact] * 2) == dict.fromkeys(RULES, True)
    # A residue is rounding alone, which no rule is asked about; nor what one side does not show.
    rest = Trace(base | {residue: np.ones(3)})
    assert not any(objections([rest], [Trace(base)], [exact]).values())
    assert not any(objections([Trace({near: np.ones(3)})], [Trace(base)], [exact]).values())
