"""Is an `agree` earned? The check on ports that it has not seen, honest ones and faulty ones.

    python benchmarks/unseen_faults.py --depths 3 --out benchmarks/unseen_faults.json
    python benchmarks/unseen_faults.py --only 'nesterov*' 'honest*float32*' --depths 1 3

Each honest port and each fault of `tests/ports` is put to `parity.check` with its default options, a row for each. An
honest port must agree; one that offers float32 only must come out `incomplete`. A fault must be caught, placed where it
is, and named right or `unexplained`. Exit status 1 if a row is not right.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ports.collection import FAULTS, HONEST, Fault, Honest, load_faults

import parity
from parity import CheckConfig, CheckReport, ModelSpec

COLUMNS = (
    ("case", 47),
    ("port", 17),
    ("offers", 7),
    ("verdict", 10),
    ("first divergence", 44),
    ("cause", 46),
    ("right?", 6),
)
HONEST_KIND = "honest"


@dataclass(frozen=True)
class Case:
    """A check to be made.

    Args:
        name: for people and for `--only`.
        target: as `--candidate` takes it.
        spec: fields of `ModelSpec` that are not the default's.
        honest: the honest port, or None.
        fault: the name of the fault, or None.
    """

    name: str
    target: str
    spec: tuple[tuple[str, Any], ...] = ()
    honest: Honest | None = None
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a check said of a case.

    Args:
        case: its name.
        kind: "honest", or the fault's.
        port: the honest port that it is, or is made of.
        wrong: what is wrong with it; "" for an honest one.
        offers: the working dtypes.
        verdict: the check's, or "crash" if there was none.
        first_divergence: step, layer, tensor, role, dtype and times_noise, or None.
        causes: of either side, the first one first.
        evidence: of the first cause; of a crash, what was raised.
        caught: whether a fault was; None for an honest port.
        placed: whether the first divergence is where the fault is; None where that is not asked.
        naming: "named", "unexplained" or "wrong"; None where nothing was caught.
        right: whether all of it is as it must be.
        seconds: how long the check took.
    """

    case: str
    kind: str
    port: str
    wrong: str
    offers: tuple[str, ...]
    verdict: str
    first_divergence: dict[str, Any] | None
    causes: tuple[str, ...]
    evidence: str
    caught: bool | None
    placed: bool | None
    naming: str | None
    right: bool
    seconds: float


def all_cases() -> Iterator[Case]:
    """The honest ports, then the faults in float64 and those in float32 only."""
    for port in HONEST:
        fields = [f"{name}={value}" for name, value in port.spec.items()]
        name = ", ".join([f"honest {port.target.replace(':make_backend', '').replace(':make', '')}", *fields])
        yield Case(name, f"ports.{port.target}", tuple(port.spec.items()), honest=port)
    for fault in load_faults():
        endings = [""] * fault.float64 + ["_float32"] * fault.float32_only
        for ending in endings:
            yield Case(fault.name + ending, f"{fault.module}:{fault.name}{ending}", fault=fault.name)


def select(cases: Sequence[Case], patterns: Sequence[str], config: CheckConfig) -> list[Case]:
    """The cases that match a pattern (by name, kind or port) and that the networks asked for can have."""
    found = []
    for case in cases:
        fault = FAULTS[case.fault] if case.fault else None
        words = [case.name, case.target, *([fault.kind, fault.port] if fault else [HONEST_KIND])]
        asked = not patterns or any(fnmatchcase(word, pattern) for word in words for pattern in patterns)
        applies = fault is None or (
            max(config.depths) >= fault.min_depth and (True in config.batch_norm or not fault.needs_norm)
        )
        if asked and applies:
            found.append(case)
    return found


def judge(case: Case, config: CheckConfig, reference: str | None) -> Row:
    """Put a case to the check. What goes wrong is a row, too."""
    list(load_faults())
    started = time.perf_counter()
    config = replace(config, spec=ModelSpec(**dict(case.spec)))
    try:
        found: CheckReport | Exception = parity.check(reference, case.target, config=config)
    except Exception as error:
        found = error
    row = _honest_row(case, found) if case.honest else _fault_row(case, FAULTS[str(case.fault)], found)
    return replace(row, seconds=round(time.perf_counter() - started, 1))


def _row(case: Case, found: CheckReport | Exception) -> Row:
    """What the check said, not yet judged."""
    fault = FAULTS[case.fault] if case.fault else None
    offers = (
        case.honest.offers
        if case.honest
        else ("float32",)
        if case.name.endswith("_float32")
        else ("float32", "float64")
    )
    row = Row(
        case=case.name,
        kind=fault.kind if fault else HONEST_KIND,
        port=fault.port if fault else case.target.partition(":")[0].removeprefix("ports."),
        wrong=fault.wrong if fault else "",
        offers=offers,
        verdict="crash",
        first_divergence=None,
        causes=(),
        evidence="",
        caught=None,
        placed=None,
        naming=None,
        right=False,
        seconds=0.0,
    )  # fmt: skip
    if isinstance(found, Exception):
        return replace(row, evidence=f"{type(found).__name__}: {found}")
    first = found.first_divergence
    place = first and {
        "step": first.step if isinstance(first.step, str) else int(first.step),
        "layer": first.layer,
        "tensor": first.tensor,
        "role": first.pair[0],
        "dtype": first.setting.dtype,
        "depth": first.setting.depth,
        "times_noise": float(f"{first.times_noise:.3g}") if first.times_noise < float("inf") else None,
    }
    causes = [cause for cause in (found.cause, *found.other_causes) if cause]
    names = tuple(cause.name if cause.side == "candidate" else f"{cause.side}: {cause.name}" for cause in causes)
    evidence = causes[0].evidence if causes else ""
    return replace(row, verdict=str(found.verdict), first_divergence=place, causes=names, evidence=evidence)


def _honest_row(case: Case, found: CheckReport | Exception) -> Row:
    row = _row(case, found)
    assert case.honest is not None
    return replace(row, right=row.verdict == case.honest.verdict)


def _fault_row(case: Case, fault: Fault, found: CheckReport | Exception) -> Row:
    row = _row(case, found)
    caught = row.verdict == "disagree"
    if not caught:
        return replace(row, caught=False)
    placed, place = None, row.first_divergence
    if fault.where and not (place is None and "not_repeatable" in row.causes[:1]):
        placed = place is not None and place["role"] == "candidate"
        placed = placed and fault.is_right_place(place["step"], place["layer"], place["tensor"])
    naming = "named" if any(name in fault.names for name in row.causes) else "unexplained"
    if not all(fault.is_right_name(name) for name in row.causes):
        naming = "wrong"
    return replace(row, caught=True, placed=placed, naming=naming, right=placed is not False and naming != "wrong")


def table_line(row: Row) -> str:
    """A row for people."""
    place = row.first_divergence
    where = "" if place is None else f"{place['step']}, {place['layer']}, {place['tensor']}"
    if place is not None and place["dtype"] != "float64":
        where += f" ({place['dtype']})"
    what = "ok"
    if not row.right:
        what = (
            "ALARM"
            if row.caught is None
            else "MISSED"
            if not row.caught
            else "NAME"
            if row.naming == "wrong"
            else "PLACE"
        )
    offers = "both" if "float64" in row.offers else "float32"
    causes = " + ".join(row.causes) or row.evidence
    return line((row.case, row.port, offers, row.verdict, where, causes, what))


def line(cells: Sequence[str]) -> str:
    """Cells in columns, each cut where its column ends but the last two."""
    return " ".join(f"{cell[:width]:{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()


def summary(rows: Sequence[Row]) -> dict[str, int]:
    """The counts of the last line."""
    faults = [row for row in rows if row.kind != HONEST_KIND]
    return {
        "faults": len(faults),
        "caught": sum(bool(row.caught) for row in faults),
        "misplaced": sum(row.placed is False for row in faults),
        "named": sum(row.naming == "named" for row in faults),
        "unexplained": sum(row.naming == "unexplained" for row in faults),
        "wrong_names": sum(row.naming == "wrong" for row in faults),
        "honest": len(rows) - len(faults),
        "false_alarms": sum(not row.right for row in rows if row.kind == HONEST_KIND),
    }


def run(cases: Sequence[Case], config: CheckConfig, reference: str | None, jobs: int) -> Iterator[Row]:
    """Every case's row, in order; each check is made in one of `jobs` processes."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [(case, pool.submit(judge, case, config, reference)) for case in cases]
        for case, future in futures:
            try:
                yield future.result()
            except BrokenProcessPool as error:
                yield _row(case, error)


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help="names, kinds or ports, such as 'flax*'"
    )
    parser.add_argument("--depths", nargs="+", type=int, default=[3])
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of each check")
    parser.add_argument("--batch-norm", choices=("on", "off", "both"), default="both")
    parser.add_argument("--reference", help="as `bnparity check` takes it")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="checks at once")
    parser.add_argument("--list", action="store_true", help="print the cases, and do nothing else")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the cases, print the table, write the result; 1 if a row is not right."""
    options = options_of()
    norm = {"on": (True,), "off": (False,), "both": (True, False)}[options.batch_norm]
    config = CheckConfig(depths=tuple(options.depths), batch_norm=norm, num_seeds=options.seeds)
    cases = select(list(all_cases()), options.only, config)
    if options.list:
        print(*(f"{case.name:{COLUMNS[0][1]}} {case.target}" for case in cases), sep="\n")
        return 0
    print(line([name for name, _ in COLUMNS]))
    rows: list[Row] = []
    for row in run(cases, config, options.reference, options.jobs):
        print(table_line(row), flush=True)
        rows.append(row)
    counts = summary(rows)
    print(
        f"\n{counts['caught']} of {counts['faults']} faults caught, {counts['misplaced']} of them misplaced; "
        f"{counts['named']} named, {counts['unexplained']} unexplained, {counts['wrong_names']} WRONG names; "
        f"{counts['false_alarms']} false alarms on {counts['honest']} honest ports"
    )
    if options.out:
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        asked = {"depths": options.depths, "seeds": options.seeds, "batch_norm": options.batch_norm}
        result = {"schema": 1, "machine": machine, **asked, "summary": counts, "rows": [asdict(row) for row in rows]}
        options.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return int(not all(row.right for row in rows))


if __name__ == "__main__":
    sys.exit(main())
