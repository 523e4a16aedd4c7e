"""The report on a comparison: the verdict on what differs and on what was compared."""

import os
import platform
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from parity.pair.coverage import coverage_of, free_distances, measured, not_compared, unjudged, weights_of
from parity.pair.differences import differences, goes_on
from parity.pair.findings import FindingKind
from parity.pair.material import Material, sensitive
from parity.pair.records import CompareReport, Finding, PairCause
from parity.pair.tree import module_rows, stretch_rows
from parity.verdict.compare import SAFETY
from parity.verdict.verdict import UNEXPLAINED, Verdict

# What a candidate says as it raises what the reference does not, by the name of the cause; and what to do.
CRASHES = {
    "index out of range in self": (  # not that of a list of Python
        "out_of_range_index",
        "keep indices within the table: PyTorch refuses others, and JAX clamps them or gives what is no number",
    ),
}


def crashed(words: str, versions: Mapping[str, str]) -> CompareReport:
    """Return the report on a candidate that could not be played."""
    name, remedy = next((cause for said, cause in CRASHES.items() if said in words), (UNEXPLAINED, ""))
    cause = PairCause(name=name, evidence=words, remedy=remedy)
    finding = Finding(kind=FindingKind.CRASH, agrees="the candidate raised", cause=cause)
    return CompareReport(verdict=Verdict.DISAGREE, findings=(finding,), environment=_environment(versions))


def report(material: Material) -> CompareReport:
    """Return the verdict on what was found."""
    findings, narrow, aside = differences(material)
    distances = [each for answer in material.answers for each in answer.distances] + list(material.stepped.distances)
    within = [each for each in distances if not each.is_beyond]
    missed = list(unjudged(material, narrow))
    verdict = Verdict.DISAGREE if findings else Verdict.INCOMPLETE if missed or not within else Verdict.AGREE
    return CompareReport(
        verdict=verdict,
        findings=tuple(findings),
        accepted=tuple(
            {
                "name": each.name,
                "place": each.place,
                "seen": list(modules),
                "reason": each.reason,
                "at_most": each.at_most,
            }
            for each, modules in material.seen.items()
        ),
        coverage=coverage_of(material),
        islands=_islands(material),
        not_compared=(*missed, *not_compared(material, goes_on(material, aside))),
        weights=weights_of(material.settled),
        layouts={} if material.order is None else {n: axes for n, axes in material.order.axes.items() if axes},
        comparisons=len(distances),
        sensitivity=max((SAFETY * each.floor / each.size for each in sensitive(distances)), default=0.0),
        worst=max((each.times_noise for each in within), default=0.0),
        free=free_distances(material.free),
        drawn=tuple(material.drawn),
        modules=tuple(module_rows(material, (*findings, *aside.findings))),
        stretches=tuple(stretch_rows(material, (*findings, *aside.findings))),
        measured=tuple(measured(material.answers)),
        environment=_environment(material.versions),
    )


def _islands(material: Material) -> tuple[dict[str, Any], ...]:
    """What either side computes in narrower numbers: its model, and its optimizer."""
    of_models = (anatomy.islands for anatomy in (material.graph.reference, material.graph.candidate))
    return tuple(
        {"side": side, **each._asdict()}
        for side, *islands in zip(("reference", "candidate"), of_models, material.stepped.islands, strict=True)
        for each in chain(*islands)
    )


def _environment(versions: Mapping[str, str]) -> dict[str, Any]:
    own = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    return own | {"numpy": np.__version__, **versions}
