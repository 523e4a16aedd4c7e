"""Is a verdict on a pair of models to be trusted? Honest pairs of every kind, and faults planted in them.

    python benchmarks/pair_faults.py --seeds 20 --out benchmarks/pair_faults.json
    python benchmarks/pair_faults.py --only encoder lstm

Each kind of model of `tests/pairs/kinds` is compared at several seeds, with default options: it must agree. Then each
planted fault: it must be found at its own place, nothing else may be, and its cause must be named right or
`unexplained`. The exit status is 1 if a row is not right.
"""

import argparse
import json
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "pairs"))

from planted import KINDS, PLANTED, compare

from parity.verdict.verdict import UNEXPLAINED, Verdict

WIDTHS = (14, 20, 10, 44, 24, 6)


def main() -> int:
    """Run the cases, print the table, write the result; 1 if a row is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of the honest pairs")
    parser.add_argument("--only", nargs="+", default=KINDS, help="kinds of model")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of PyTorch; JAX takes its own default")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_default_device({"cpu": "cpu", "gpu": "cuda"}[options.device])
    print(line(("kind", "fault", "verdict", "found at", "cause", "right?")))
    rows: list[dict[str, Any]] = []
    agreeing = (honest(name, options.seeds) for name in options.only)
    for row in chain(agreeing, map(faulty, chosen(options.only))):
        shown = f"{row['seconds']} s, worst {row['worst']}" if row["fault"] is None else row["found"]
        print(line((row["kind"], row["fault"] or "", row["verdict"], shown, row["cause"], row["right"])), flush=True)
        rows.append(row)
        if options.out:
            options.out.write_text(json.dumps({"schema": 1, "seeds": options.seeds, "rows": rows}, indent=1) + "\n")
    faults = [row for row in rows if row["fault"] is not None]
    print(
        f"\n{sum(row['right'] for row in faults)} of {len(faults)} faults found at their places alone, "
        f"{sum(row['cause'] != UNEXPLAINED for row in faults)} of them named; "
        f"{sum(row['flagged'] for row in rows if row['fault'] is None)} honest pairs flagged"
    )
    return int(not all(row["right"] for row in rows))


def chosen(kinds: Any) -> list[tuple[str, str]]:
    """The planted faults of some kinds."""
    return [case for case in PLANTED if case[0] in kinds]


def honest(name: str, seeds: int) -> dict[str, Any]:
    """Compare an honest pair at several seeds."""
    started = time.monotonic()
    reports = [compare(name, seed=seed) for seed in range(seeds)]
    flagged = sum(report.verdict is not Verdict.AGREE for report in reports)
    return {
        "kind": name,
        "fault": None,
        "verdict": "agree" if not flagged else "other",
        "flagged": flagged,
        "worst": round(max(report.worst for report in reports), 2),
        "cause": "",
        "right": not flagged,
        "seconds": round((time.monotonic() - started) / seeds, 1),
    }


def faulty(case: tuple[str, str]) -> dict[str, Any]:
    """Compare a pair with a planted fault."""
    started = time.monotonic()
    planted, report = PLANTED[case], compare(*case)
    found = report.findings
    is_right = planted.is_all_of(found) and {each.cause.name for each in found} <= {planted.cause, UNEXPLAINED}
    return {
        "kind": case[0],
        "fault": case[1],
        "verdict": str(report.verdict),
        "found": "; ".join(f"{finding.kind}: {finding.place}" for finding in found),
        "cause": "; ".join(dict.fromkeys(finding.cause.name for finding in found)),
        "right": is_right,
        "seconds": round(time.monotonic() - started, 1),
    }


def line(cells: Any) -> str:
    """Return a row of the table."""
    return " ".join(f"{cell!s:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
