"""Is an `agree` earned? The check on ports that it has not seen, honest ones and faulty ones.

    python benchmarks/unseen_faults.py --depths 3 --out benchmarks/unseen_faults.json
    python benchmarks/unseen_faults.py --only 'nesterov*' 'honest*float32' --depths 1 3

Each honest port and each fault of `tests/ports` is put to `parity.check` with its default options, a row for each. An
honest port must agree; a default check of one that offers float32 only must be `incomplete`. A fault must be caught,
placed where it is, and named right or `unexplained`. The last column says `ok`, or what is not right: ALARM, MISSED,
PLACE or NAME; then the exit status is 1.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ports.cases import HONEST_KIND, Case, Row, all_cases, judge

from parity import CheckConfig

HEADINGS = ("case", "port", "offers", "verdict", "first divergence", "cause", "right?")
WIDTHS = (56, 17, 7, 10, 44, 46, 6)


def main() -> int:
    """Run the cases, print the table, write the result; 1 if a row is not right."""
    options = parse()
    norm = {"on": (True,), "off": (False,), "both": (True, False)}[options.batch_norm]
    config = CheckConfig(depths=tuple(options.depths), batch_norm=norm, num_seeds=options.seeds)
    every = [case for case in all_cases() if case.applies(config)]
    cases = [case for case in every if not options.only or any(map(case.matches, options.only))]
    if options.list:
        print(*(f"{case.name:{WIDTHS[0]}} {case.target}" for case in cases), sep="\n")
        return 0
    asked = {name: getattr(options, name) for name in ("depths", "seeds", "batch_norm")}
    found = read(options.out, asked) if options.resume else {}
    print(line(HEADINGS))
    rows: list[Row] = []
    for row in run(cases, config, options.reference, options.jobs, found):
        print(line(cells(row)), flush=True)
        rows.append(row)
        if options.out:
            write(options.out, {**asked, "summary": summary(rows), "rows": [asdict(row) for row in rows]})
    counts = summary(rows)
    print(
        f"\n{counts['caught']} of {counts['faults']} faults caught, {counts['misplaced']} of them misplaced; "
        f"{counts['named']} named, {counts['unexplained']} unexplained, {counts['wrong_names']} WRONG names; "
        f"{counts['false_alarms']} false alarms on {counts['honest']} honest ports"
    )
    return int(not all(row.right for row in rows))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="names, kinds or ports, as 'flax*'")
    parser.add_argument("--depths", nargs="+", type=int, default=[3])
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of each check")
    parser.add_argument("--batch-norm", choices=("on", "off", "both"), default="both")
    parser.add_argument("--reference", help="as `bnparity check` takes it")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="checks at once")
    parser.add_argument("--list", action="store_true", help="print the cases, and do nothing else")
    parser.add_argument("--out", type=Path, help="write the rows as JSON, each as soon as it is there")
    parser.add_argument("--resume", action="store_true", help="keep the rows that --out holds, and run the other cases")
    options = parser.parse_args()
    if options.resume and not options.out:
        parser.error("--resume needs --out")
    return options


def run(
    cases: Sequence[Case], config: CheckConfig, reference: str | None, jobs: int, found: Mapping[str, Row]
) -> Iterator[Row]:
    """The row of every case, in order; `jobs` checks at once, each with its sides in processes of their own."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(lambda case: found.get(case.name) or judge(case, config, reference), cases)
        finally:  # Ctrl-C waits for the checks under way, not for those that have not begun
            pool.shutdown(wait=False, cancel_futures=True)


def cells(row: Row) -> tuple[str, ...]:
    """A row for people."""
    place, where = row.first_divergence, ""
    if place is not None:
        dtype = "" if place["dtype"] == "float64" else f" ({place['dtype']})"
        where = f"{place['step']}, {place['layer']}, {place['tensor']}{dtype}"
    offers = "both" if "float64" in row.offers else "float32"
    return row.case, row.port, offers, row.verdict, where, " + ".join(row.causes) or row.evidence, row.mark


def line(values: Sequence[str]) -> str:
    """Values in columns, each cut to its column."""
    return " ".join(f"{value[:width]:{width}}" for value, width in zip(values, WIDTHS, strict=True)).rstrip()


def summary(rows: Sequence[Row]) -> dict[str, int]:
    """The counts of the last line."""
    faults = [row for row in rows if row.kind != HONEST_KIND]
    return {
        "faults": len(faults),
        "caught": sum(bool(row.caught) for row in faults),
        "misplaced": sum(row.placed is False for row in faults),
        "named": sum(row.naming == "named" for row in faults),
        "unexplained": sum(row.naming in ("unexplained", "unnamed") for row in faults),
        "wrong_names": sum(row.naming == "wrong" for row in faults),
        "honest": len(rows) - len(faults),
        "false_alarms": sum(not row.right for row in rows if row.kind == HONEST_KIND),
    }


def read(path: Path, asked: Mapping[str, Any]) -> dict[str, Row]:
    """The rows of an earlier run that was asked the same, by case."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if {name: earlier[name] for name in asked} != asked:
        raise SystemExit(f"{path} was asked otherwise; choose another --out")
    rows = [Row(**{**row, **{name: tuple(row[name]) for name in ("offers", "causes")}}) for row in earlier["rows"]]
    return {row.case: row for row in rows}


def write(path: Path, result: dict[str, Any]) -> None:
    """The result, with the machine, as JSON."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    text = json.dumps({"schema": 1, "machine": machine, **result}, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
