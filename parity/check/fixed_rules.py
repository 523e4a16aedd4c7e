"""What the fixed tolerances of well-known tools would have said, on the same tensors.

Each rule is re-implemented here from its documented formula, so that all are asked alike. They are given what a
parity test usually holds against each other: every tensor of a training step and of an evaluation, in float32.
"""

from collections.abc import Callable, Iterable

import numpy as np

from parity.verdict.trace import Array, Trace

Rule = Callable[[Array, Array, Array], bool]  # (actual, expected, the same in float64) -> whether it objects


def _tolerance(rtol: float, atol: float) -> Rule:
    def objects(actual: Array, expected: Array, exact: Array) -> bool:
        return not bool(np.all(np.abs(actual - expected) <= atol + rtol * np.abs(expected)))

    return objects


def _dynamo(actual: Array, expected: Array, exact: Array) -> bool:
    """Objects unless `rmse(exact, actual) <= m rmse(exact, expected) + 1e-5`, m = 3 below 1000 elements and 2 above."""
    error, own = (float(np.sqrt(np.mean((array - exact) ** 2))) for array in (actual, expected))
    return not error <= (3.0 if actual.size < 1000 else 2.0) * own + 1e-5


RULES: dict[str, Rule] = {
    "assert_close of PyTorch": _tolerance(1.3e-6, 1e-5),
    "assert_trees_all_close of chex": _tolerance(1e-6, 0.0),
    "allclose of NumPy": _tolerance(1e-5, 1e-8),
    "rtol 1e-3": _tolerance(1e-3, 0.0),
    "TorchDynamo's float64 rule": _dynamo,
}


def objections(actual: Iterable[Trace], expected: Iterable[Trace], exact: Iterable[Trace]) -> dict[str, bool]:
    """Which rules object to at least one tensor.

    Args:
        actual: of the candidate, episode by episode.
        expected: of the reference.
        exact: of the float64 witness.
    """
    triples = [
        (a.tensors[key], e.tensors[key], x.tensors[key])
        for a, e, x in zip(actual, expected, exact, strict=True)
        for key in x.tensors
        if key in a.tensors and key in e.tensors and key not in x.scales
    ]
    with np.errstate(all="ignore"):
        return {name: any(rule(*triple) for triple in triples) for name, rule in RULES.items()}
