"""`compare`, tested: every planted fault must be found at its place alone, and no honest pair may be flagged."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from threading import Lock
from typing import Any

from parity.backend import load_backend, sibling_names
from parity.errors import InputError, choices, one_line
from parity.machine import usable_cores
from parity.pair.planted import PLANTED, SPECIMENS
from parity.pair.records import SCHEMA, CompareReport
from parity.pair.run import compare
from parity.process import ProcessSide, SideError
from parity.progress import Progress, SilentProgress
from parity.verdict.verdict import UNEXPLAINED, Verdict

BOTH_WAYS = ("functions", "optimizers")  # kinds whose faults have one place, whichever side is the reference
CASES_A_PROCESS = 24  # every case compiles programs of its own, and the system gives a process only so many memory maps
LEAST_NAMED = 0.95


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is compared.

    Args:
        kind: of model.
        fault: that is planted in the candidate; "" for an honest pair.
        is_reversed: whether the candidate's framework is the one that is the reference of the others.
        seed: of an honest pair's weights and inputs.
    """

    kind: str
    fault: str = ""
    is_reversed: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was said of a case.

    Args:
        case: which.
        verdict: as a word; "raised" if the comparison did not end.
        found: the places of the findings.
        causes: their names.
        is_placed: whether these are the place of the fault, and nothing else; that there is none, of an honest pair.
        is_named: whether the cause is named, and is the fault's.
        worst: distance, in noise floors.
        seconds: that it took.
    """

    case: Case
    verdict: str
    found: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    is_placed: bool = False
    is_named: bool = False
    worst: float | None = None
    seconds: float | None = None

    @property
    def is_misnamed(self) -> bool:
        """Whether a cause is named that is not the fault's."""
        return not self.is_named and any(name != UNEXPLAINED for name in self.causes)


@dataclass(frozen=True, kw_only=True)
class PairSelfTest:
    """Every outcome, and the scores.

    Args:
        outcomes: in order.
        versions: of what decides the numbers.
        left_out: kinds that need a package that is not installed.
    """

    outcomes: tuple[Outcome, ...]
    versions: dict[str, str]
    left_out: tuple[str, ...] = ()

    @property
    def faults(self) -> list[Outcome]:
        """Of the cases with a fault."""
        return [each for each in self.outcomes if each.case.fault]

    @property
    def honest(self) -> list[Outcome]:
        """Of the others."""
        return [each for each in self.outcomes if not each.case.fault]

    @property
    def flagged(self) -> list[Outcome]:
        """Honest pairs that do not agree."""
        return [each for each in self.honest if each.verdict != Verdict.AGREE]

    @property
    def passed(self) -> bool:
        """Every fault at its place, 95% of them named, none named wrongly, no honest pair flagged."""
        faults = self.faults
        named = sum(each.is_named for each in faults)
        right = all(each.is_placed and not each.is_misnamed for each in faults)
        return bool(self.outcomes) and right and named >= LEAST_NAMED * len(faults) and not self.flagged

    def rows(self) -> list[dict[str, Any]]:
        """For each kind its honest pairs together, and each fault."""
        kinds = dict.fromkeys(each.case.kind for each in self.honest)
        together = [_together(kind, [each for each in self.honest if each.case.kind == kind]) for kind in kinds]
        return together + [_row(each) for each in self.faults]

    def words(self) -> str:
        """The scores, and every case that is not right, a line each."""
        faults, honest = self.faults, self.honest
        placed, named = (sum(getattr(each, what) for each in faults) for what in ("is_placed", "is_named"))
        lines = [
            f"{placed} of {len(faults)} planted faults found where they are and nothing else, {named} of them named",
            f"{len(self.flagged)} of {len(honest)} honest comparisons flagged",
        ]
        for each in [*faults, *self.flagged]:
            if each.is_placed and each.is_named and each.case.fault:
                continue
            way = ", in the other direction" if each.case.is_reversed else ""
            found, causes = "; ".join(each.found) or "nothing found", "; ".join(dict.fromkeys(each.causes))
            case = f"{each.case.kind}, {each.case.fault or f'honest, seed {each.case.seed}'}{way}"
            lines.append(f"{case}: {each.verdict}, {found}" + (f" ({causes})" if causes else ""))
        lines += [f"left out: {words}" for words in self.left_out]
        return "\n".join(
            [f"self-test {'PASSED' if self.passed else 'FAILED'}", *(f"  {one_line(each)}" for each in lines)]
        )

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "faults": len(self.faults),
            "placed": sum(each.is_placed for each in self.faults),
            "named": sum(each.is_named for each in self.faults),
            "misnamed": sum(each.is_misnamed for each in self.faults),
            "honest": len(self.honest),
            "flagged": len(self.flagged),
            "environment": self.versions,
            "left_out": list(self.left_out),
            "rows": self.rows(),
        }


def _together(kind: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    flagged = [each for each in outcomes if each.verdict != Verdict.AGREE]
    return {
        "kind": kind,
        "fault": None,
        "comparisons": len(outcomes),
        "flagged": len(flagged),
        "worst": round(max(each.worst or 0.0 for each in outcomes), 2),
        "seconds": round(median(each.seconds or 0.0 for each in outcomes), 1),
        "found": [{**asdict(each.case), "verdict": each.verdict, "found": each.found} for each in flagged],
    }


def _row(outcome: Outcome) -> dict[str, Any]:
    case = outcome.case
    return {
        "kind": case.kind,
        "fault": case.fault,
        "reversed": case.is_reversed,
        "verdict": outcome.verdict,
        "found": "; ".join(outcome.found),
        "cause": "; ".join(dict.fromkeys(outcome.causes)),
        "placed": outcome.is_placed,
        "named": outcome.is_named,
    }


def self_test(
    kinds: Sequence[str] = (), *, seeds: int = 1, jobs: int | None = None, progress: Progress | None = None
) -> PairSelfTest:
    """Compare honest pairs of every kind, and every planted fault.

    Args:
        kinds: of model; none for all.
        seeds: at which each honest pair is compared.
        jobs: comparisons at once; None for one on each core.
        progress: shows how far it is.

    Raises:
        InputError: there is no such kind, or nothing to do.
    """
    unknown = [kind for kind in kinds if kind not in SPECIMENS]
    if unknown:
        raise InputError(f"no kind of model is named {unknown[0]!r}; {choices(unknown[0], SPECIMENS)}")
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}; one is enough for a look")
    wanted = kinds or tuple(SPECIMENS)
    left_out = [kind for kind in wanted if SPECIMENS[kind].needs and find_spec(SPECIMENS[kind].needs) is None]
    names = sibling_names()
    versions = {key: value for name in names for key, value in load_backend(name).versions().items()}
    cases = [case for kind in wanted if kind not in left_out for case in cases_of(kind, seeds)]
    with progress or SilentProgress() as shown:
        outcomes = _Pool(cases, shown).outcomes(jobs or usable_cores())
    words = tuple(f"{kind}: needs {SPECIMENS[kind].needs}, which is not installed" for kind in left_out)
    return PairSelfTest(outcomes=outcomes, versions=versions, left_out=words)


def cases_of(kind: str, seeds: int) -> Iterator[Case]:
    """Yield an honest pair at each seed, and each fault; in the other direction too, if either can be the reference."""
    for is_reversed in (False, True) if SPECIMENS[kind].is_mutual else (False,):
        for seed in range(1 if is_reversed else seeds):
            yield Case(kind=kind, is_reversed=is_reversed, seed=seed)
        for (of, fault), planted in PLANTED.items():
            if of == kind and (not is_reversed or (kind in BOTH_WAYS and planted.is_mutual)):
                yield Case(kind=kind, fault=fault, is_reversed=is_reversed)


class _Pool:
    """Compares in several processes, each of which takes the next case."""

    def __init__(self, cases: Sequence[Case], progress: Progress) -> None:
        self._waiting, self._count, self._progress = iter(enumerate(cases)), len(cases), progress
        self._turn, self._done = Lock(), dict[int, Outcome]()

    def outcomes(self, jobs: int) -> tuple[Outcome, ...]:
        """Return the outcome of every case, in order."""
        with ThreadPoolExecutor(jobs) as pool:
            for each in [pool.submit(self._work) for _ in range(jobs)]:
                each.result()
        return tuple(self._done[number] for number in range(self._count))

    def _work(self) -> None:
        while self._work_in_a_process():
            pass

    def _work_in_a_process(self) -> bool:
        """Whether there may be more."""
        with closing(ProcessSide("the self-test", partial(load_backend, sibling_names()[0]))) as side:
            side.wait_until_ready()
            for _ in range(CASES_A_PROCESS):
                with self._turn:
                    following = next(self._waiting, None)
                    if following is None:
                        return False
                    number, case = following
                    self._progress.update(len(self._done) / self._count, f"{case.kind}: {case.fault or 'honest'}")
                try:
                    outcome = side.call(_played, case)
                except SideError as error:
                    self._done[number] = Outcome(case=case, verdict="raised", found=(str(error),))
                    return True  # in a new process, as this one may have ended
                self._done[number] = outcome
        return True


def _played(_: Any, case: Case) -> Outcome:
    """Compare a case, in a process of the pool."""
    return judged(case, compare_specimen(case))


def compare_specimen(case: Case, **options: Any) -> CompareReport:
    """Compare the two models of a case; the reference is that of the second backend, if it is not reversed.

    Args:
        case: which.
        options: see `parity.compare`; they come before the specimen's own.
    """
    specimen = SPECIMENS[case.kind]
    of_fault = PLANTED[case.kind, case.fault].options if case.fault else {}
    backends = (load_backend(name) for name in sibling_names()[:2])
    candidate, reference = (each.specimen(case.kind, case.fault, case.seed) for each in backends)
    ports = (candidate, reference) if case.is_reversed else (reference, candidate)
    given = {"questions": ("forced",)} if case.fault else {}
    return compare(
        *ports, inputs=specimen.inputs, seed=case.seed, **{**given, **specimen.options, **of_fault, **options}
    )


def judged(case: Case, report: CompareReport) -> Outcome:
    """Return what a report says of a case."""
    planted = PLANTED.get((case.kind, case.fault))
    return Outcome(
        case=case,
        verdict=str(report.verdict),
        found=tuple(f"{each.kind}: {each.place}" for each in report.findings),
        causes=tuple(each.cause.name for each in report.findings),
        is_placed=planted.is_all_of(report.findings, case.is_reversed) if planted else not report.findings,
        is_named=planted is None or (planted.cause != UNEXPLAINED and planted.is_cause_of(report.findings)),
        worst=report.worst,
        seconds=round(report.seconds, 2),
    )
