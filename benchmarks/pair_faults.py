"""Is a verdict on a pair of models to be trusted? Honest pairs of every kind, and faults planted in them.

    python benchmarks/pair_faults.py --seeds 20 --out benchmarks/pair_faults.json
    python benchmarks/pair_faults.py --only encoder lstm

Each kind of model of `tests/pairs/kinds` is compared at several seeds, with default options: it must agree. Then each
planted fault: it must be found at its own place, nothing else may be, and its cause must be named right or
`unexplained`. The exit status is 1 if a row is not right.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "pairs"))

from planted import KINDS, PLANTED, compare

from parity.verdict.verdict import UNEXPLAINED, Verdict

WIDTHS = (16, 24, 10, 44, 24, 6)


def main() -> int:
    """Run the cases, print the table, write the result; 1 if a row is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="of the honest pairs")
    parser.add_argument("--only", nargs="+", default=KINDS, help="kinds of model")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="comparisons at once")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of PyTorch; JAX takes its own default")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    print(line(("kind", "fault", "verdict", "found at", "cause", "right?")))
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as cache,
        ProcessPoolExecutor(
            options.jobs, multiprocessing.get_context("spawn"), _set_up, (options.device, cache)
        ) as pool,
    ):
        agreeing = {name: [pool.submit(honest, name, seed) for seed in range(options.seeds)] for name in options.only}
        faults = [pool.submit(faulty, case) for case in PLANTED if case[0] in options.only]
        together = (_together(name, each) for name, each in agreeing.items())
        for row in chain(together, (each.result() for each in faults)):
            shown = f"{row['seconds']} s each, worst {row['worst']}" if row["fault"] is None else row["found"]
            print(
                line((row["kind"], row["fault"] or "", row["verdict"], shown, row["cause"], row["right"])), flush=True
            )
            rows.append(row)
            if options.out:
                found = {"schema": 1, "seeds": options.seeds, "environment": _environment(options.device), "rows": rows}
                options.out.write_text(json.dumps(found, indent=1) + "\n")
    planted = [row for row in rows if row["fault"] is not None]
    print(
        f"\n{sum(row['right'] for row in planted)} of {len(planted)} faults found at their places alone, "
        f"{sum(row['cause'] != UNEXPLAINED for row in planted)} of them named; "
        f"{sum(row['flagged'] for row in rows if row['fault'] is None)} of "
        f"{options.seeds * len(agreeing)} comparisons of honest pairs flagged"
    )
    return int(not all(row["right"] for row in rows))


def _set_up(device: str, cache: str) -> None:
    """Set up a process: one thread, and what is compiled for one seed serves the others too."""
    torch.set_num_threads(1)
    torch.set_default_device({"cpu": "cpu", "gpu": "cuda"}[device])
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _environment(device: str) -> dict[str, Any]:
    versions = {"jax": jax.__version__, "torch": str(torch.__version__), "numpy": np.__version__}
    return {**versions, "python": platform.python_version(), "device": device, "jax device": jax.default_backend()}


def honest(name: str, seed: int) -> tuple[str, float, float, str]:
    """Compare an honest pair; return its verdict, the worst distance, the seconds, and what was found."""
    report = compare(name, seed=seed)
    found = "; ".join(f"{each.kind}: {each.place}" for each in report.findings)
    return str(report.verdict), report.worst, report.seconds, found


def _together(name: str, seeds: list[Future[tuple[str, float, float, str]]]) -> dict[str, Any]:
    """The row of an honest pair at several seeds."""
    verdicts, worst, seconds, found = zip(*(each.result() for each in seeds), strict=True)
    flagged = sum(each != str(Verdict.AGREE) for each in verdicts)
    return {
        "kind": name,
        "fault": None,
        "verdict": "agree" if not flagged else "other",
        "flagged": flagged,
        "worst": round(max(worst), 2),
        "found": sorted(filter(None, set(found))),
        "cause": "",
        "right": not flagged,
        "seconds": round(float(np.median(seconds)), 1),
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
