"""Every port as a case for the check, and whether what the check says of it is right."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import parity
from parity import CheckConfig, CheckReport

from .collection import BOTH, FAULTS, FLOAT32, HONEST, Fault, load_faults

HONEST_KIND, AGREE, INCOMPLETE, DISAGREE, CRASH = "honest", "agree", "incomplete", "disagree", "crash"
BAD_NAMING = ("wrong", "unnamed")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A check to be made.

    Args:
        name: the fault's, with `_float32` where the port offers only that; "honest ..." for an honest port.
        kind: "honest", or the fault's.
        port: the honest port that it is, or is made of.
        target: as `--candidate` takes it, or the candidate itself.
        offers: the working dtypes.
        spec: fields of `ModelSpec` that are not the default's.
        fault: the name of the fault; None for an honest port.
    """

    name: str
    kind: str
    port: str
    target: Any
    offers: tuple[str, ...] = BOTH
    spec: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None

    def applies(self, config: CheckConfig) -> bool:
        """Whether one of the networks that are asked for can have the fault."""
        if self.fault is None:
            return True
        fault = FAULTS[self.fault]
        return max(config.depths) >= fault.min_depth and (True in config.batch_norm or not fault.needs_norm)

    def matches(self, pattern: str) -> bool:
        """Whether a pattern fits its name, kind, port or target."""
        return any(fnmatchcase(word, pattern) for word in (self.name, self.kind, self.port, str(self.target)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a check said of a case, and whether it is right.

    Args:
        case: its name.
        kind: "honest", or the fault's.
        port: the honest port that it is, or is made of.
        wrong: what is wrong with it; "" for an honest one.
        offers: the working dtypes.
        verdict: the check's, or "crash" if there was none.
        first_divergence: step, layer, tensor, role, dtype, depth and times_noise; None if there is none.
        causes: of the candidate; a cause of the reference has its role before it.
        evidence: of the first cause; of a crash, what was raised.
        caught: whether a fault was; None for an honest port.
        placed: whether the first divergence is where the fault is; None where that is not asked.
        naming: "named", "unexplained", "wrong", or "unnamed" where a name must be given; None where nothing was caught.
        right: whether all of it is as it must be.
        seconds: how long the check took.
    """

    case: str
    kind: str
    port: str
    wrong: str = ""
    offers: tuple[str, ...] = BOTH
    verdict: str = CRASH
    first_divergence: dict[str, Any] | None = None
    causes: tuple[str, ...] = ()
    evidence: str = ""
    caught: bool | None = None
    placed: bool | None = None
    naming: str | None = None
    right: bool = False
    seconds: float = 0.0

    def __str__(self) -> str:
        shown = [self.mark, self.case, self.wrong, self.verdict, self.first_divergence, *self.causes, self.evidence]
        return "; ".join(str(part) for part in shown if part)

    @property
    def mark(self) -> str:
        """The row's verdict on the check, in a word."""
        if self.right:
            return "ok"
        if self.caught is None:
            return "ALARM"
        if not self.caught:
            return "MISSED"
        return "NAME" if self.naming in BAD_NAMING else "PLACE"


def all_cases() -> Iterator[Case]:
    """The honest ports, then every fault, in float64 and in float32 only."""
    for honest in HONEST:
        module, _, factory = honest.target.partition(":")
        variant = factory.removeprefix("make_").removesuffix("backend")
        words = [" ".join(filter(None, [HONEST_KIND, module, variant]))]
        yield Case(
            name=", ".join(words + [f"{name}={value}" for name, value in honest.spec.items()]),
            kind=HONEST_KIND,
            port=module.replace("_", " "),
            target=f"{__package__}.{honest.target}",
            offers=honest.offers,
            spec=dict(honest.spec),
        )
    for fault in load_faults():
        for ending, offers in [("", BOTH)] * fault.float64 + [("_float32", FLOAT32)] * fault.float32_only:
            name = fault.name + ending
            target = f"{fault.module}:{name}"
            yield Case(name=name, kind=fault.kind, port=fault.port, target=target, offers=offers, fault=fault.name)


def judge(case: Case, config: CheckConfig, reference: Any = None) -> Row:
    """Put a case to the check. Whatever goes wrong is a row, too."""
    started = time.perf_counter()
    try:
        spec = replace(config.spec, **case.spec)
        row = record(case, parity.check(reference, case.target, config=replace(config, spec=spec)))
    except Exception as error:
        row = Row(case=case.name, kind=case.kind, port=case.port, evidence=f"{type(error).__name__}: {error}")
    row = replace(row, offers=case.offers, seconds=round(time.perf_counter() - started, 1))
    return judged_fault(row, FAULTS[case.fault]) if case.fault else judged_honest(row)


def record(case: Case, report: CheckReport) -> Row:
    """What a report says of a case, not yet judged."""
    causes = [cause for cause in (report.cause, *report.other_causes) if cause]
    return Row(
        case=case.name,
        kind=case.kind,
        port=case.port,
        verdict=str(report.verdict),
        first_divergence=first_divergence(report),
        causes=tuple(cause.name if cause.side == "candidate" else f"{cause.side}: {cause.name}" for cause in causes),
        evidence=causes[0].evidence if causes else "",
    )


def first_divergence(report: CheckReport) -> dict[str, Any] | None:
    """Where a report sees the two part, as JSON has it."""
    first = report.first_divergence
    if first is None:
        return None
    return {
        "step": first.step if isinstance(first.step, str) else int(first.step),
        "layer": first.layer,
        "tensor": first.tensor,
        "role": first.pair[0],
        "dtype": first.setting.dtype,
        "depth": first.setting.depth,
        "times_noise": float(f"{first.times_noise:.3g}") if math.isfinite(first.times_noise) else None,
    }


def judged_honest(row: Row) -> Row:
    """An honest port agrees; a default check of one without float64 is incomplete."""
    return replace(row, right=row.verdict == (AGREE if "float64" in row.offers else INCOMPLETE))


def judged_fault(row: Row, fault: Fault) -> Row:
    """A fault is caught, placed where it is, and named right or `unexplained`."""
    row = replace(row, wrong=fault.wrong)
    if row.verdict != DISAGREE:
        return replace(row, caught=False)
    placed, naming = is_placed(row, fault), naming_of(row.causes, fault)
    return replace(
        row, caught=True, placed=placed, naming=naming, right=placed is not False and naming not in BAD_NAMING
    )


def is_placed(row: Row, fault: Fault) -> bool | None:
    """Whether the first divergence is where the fault is; None where there is none to be placed."""
    place = row.first_divergence
    if not fault.where or (place is None and row.causes[:1] == ("not_repeatable",)):
        return None
    if place is None or place["role"] != "candidate":
        return False
    return fault.is_right_place(place["step"], place["layer"], place["tensor"])


def naming_of(causes: Sequence[str], fault: Fault) -> str:
    """One wrong name among the causes makes the naming wrong."""
    if not all(name == "unexplained" or name in fault.names for name in causes):
        return "wrong"
    if any(name in fault.names for name in causes):
        return "named"
    return "unnamed" if fault.must_name else "unexplained"
