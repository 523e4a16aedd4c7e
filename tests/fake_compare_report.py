"""Reports of comparisons that were never run."""

from dataclasses import replace
from typing import Any

from parity.pair.findings import FindingKind
from parity.pair.records import (
    CompareReport,
    Covered,
    Finding,
    Mapped,
    Mark,
    Measured,
    ModuleRow,
    PairCause,
    StretchRow,
)
from parity.verdict.verdict import Verdict

BOTH = ("train", "evaluation")


def findings() -> tuple[Finding, ...]:
    """One of each kind that reads differently."""
    between, theirs = ("blocks.1.a", "blocks.1.b"), ("block_1.a", "block_1.b")
    return (
        Finding(kind=FindingKind.WEIGHTS, reference="blocks.0.b", candidate="block_0.b",
                value="blocks.0.b.bias of the reference",
                cause=PairCause(name="missing_bias", evidence="the candidate has no such tensor")),
        Finding(kind=FindingKind.FORWARD, reference="blocks.1.b", candidate="block_1.b", between=between,
                candidate_between=theirs, value="blocks.1.b input[0][0]", modes=BOTH, times_noise=3.8e11,
                relative=1.9e-4, agrees="given the same values, what is computed from them differs",
                cause=PairCause(name="gelu_form", evidence="GELU is its tanh form", remedy="approximate=False"),
                source={"reference": "net.py:3", "candidate": "port.py:4"}),
        Finding(kind=FindingKind.BACKWARD, reference="head", candidate="top", value="head input[1]['x']",
                modes=("train",), times_noise=2e15, relative=0.5, source={"reference": "net.py:9", "candidate": None}),
        Finding(kind=FindingKind.UPDATE, value="the change of every parameter", step=1, modes=("train",),
                times_noise=2e14, relative=0.077),
    )  # fmt: skip


def disagreeing(**changes: Any) -> CompareReport:
    """Two blocks of two layers with a function between them, and a head."""
    marks = {"blocks.0.b": Mark.DIFFERS, "head": Mark.DIFFERS, "": Mark.DIFFERS, "blocks.1.act": Mark.WITHIN}
    paths = ("", "blocks.0", "blocks.0.a", "blocks.0.b", "blocks.1", "blocks.1.a", "blocks.1.act", "blocks.1.b",
             "blocks.2", "blocks.2.a", "head")  # fmt: skip
    modules = tuple(
        ModuleRow(
            path=path,
            type=f"Type{path.count('.')}",
            candidate=None if path.endswith("act") else {"head": "top"}.get(path, path.replace("s.", "_")),
            mark=marks.get(path, Mark.AGREES),
            times_noise=None if path.endswith("act") else 0.5,
        )
        for path in paths
    )
    places = [
        ("", "blocks.0"), ("blocks.0", "blocks.0.a"), ("blocks.0.a", "blocks.0.b"), ("blocks.0.b", "blocks.0"),
        ("blocks.1.a", "blocks.1.b"), ("blocks.2.a", "blocks.2"), ("blocks.2", "head"), ("", "the loss"),
    ]  # fmt: skip
    stretches = tuple(
        StretchRow(
            between=place,
            candidate_between=(place[0].replace("s.", "_"), place[1].replace("s.", "_")),
            mark=Mark.DIFFERS if place[0] == "blocks.1.a" else Mark.AGREES,
            times_noise=0.25,
        )
        for place in places
    )
    off = {"train": 1e-4, "evaluation": 2e-4}
    measured = [
        Measured(path=f"{path} {end}", module=path, kind="activation", mode=mode, relative=relative, limit=1e-14)
        for mode in BOTH
        for path in paths[1:]
        for end, relative in (("input[0][0]", off[mode] if path == "blocks.1.b" else 0.0), ("output", 1e-16))
        if not path.endswith("act")
    ]
    measured += [
        Measured(path="head input[1]['x']", module="head", kind="cotangent", mode="train", relative=0.5, limit=1e-14),
        Measured(path="head.weight", module="head", kind="gradient", mode="train", relative=1e-15, limit=1e-13),
    ]
    report = CompareReport(
        verdict=Verdict.DISAGREE,
        findings=findings(),
        accepted=({"name": "norm_epsilon", "place": "*", "seen": ["", *(f"n.{i}" for i in range(9))]},),
        coverage={"modules": Covered(compared=9, all=10), "boundaries": Covered(compared=5, all=8)},
        not_compared=("nothing of that",),
        weights={"head.weight": Mapped(candidate="top.kernel", transform="transposed", proof="names")},
        islands=({"side": "candidate", "source": "port.py:7", "operation": "softmax", "dtype": "float32"},),
        comparisons=1234,
        sensitivity=1e-13,
        worst=2.5,
        free={"train": 1e9},
        modules=modules,
        stretches=stretches,
        measured=tuple(measured),
        environment={"python": "3.13"},
        command="bnparity compare net.py",
        title="A pair",
        seconds=1.0,
    )
    return replace(report, **changes)
