"""Hostile input, at length: every property of `tests/hostile` on many random cases. `make fuzz` runs it.

Prints a row for each property, and writes the same as JSON. A case is counted once its property held for it to the end;
what Hypothesis rejects is no case. With the same seed the same cases are drawn.
"""

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

TESTS = Path(__file__).parents[1] / "tests" / "hostile"


def run(seed: int, processes: int) -> dict[str, Any]:
    """The properties with their cases and failures."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder, "outcome.xml")
        command = (sys.executable, "-m", "pytest", TESTS, "--quiet", f"--hypothesis-seed={seed}", "--timeout=0",
                   f"--numprocesses={processes}", "--dist=worksteal", f"--junitxml={outcome}")  # fmt: skip
        subprocess.run(command, env={**os.environ, "BNPARITY_FUZZ": folder}, check=False)
        cases: Counter[str] = Counter()
        for path in Path(folder).glob("*.json"):
            cases.update(json.loads(path.read_text()))
        rows = []
        for test in ElementTree.parse(outcome).iter("testcase"):
            kind = test.get("classname", "").rpartition("test_hostile_")[2]
            name = test.get("name", "")
            failed = int(any(child.tag in ("failure", "error") for child in test))
            rows.append({"kind": kind, "property": name, "cases": cases[f"{kind}: {name}"], "failures": failed})
    return {
        "schema": 1,
        "cases": sum(cases.values()),
        "failures": sum(row["failures"] for row in rows),
        "seconds": round(time.perf_counter() - start),
        "seed": seed,
        "environment": {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()},
        "properties": sorted(rows, key=lambda row: (row["kind"], row["property"])),
    }


def main() -> None:
    """Run, print, write; exit status 1 if a property failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of the cases (default: another one each time)")
    parser.add_argument("--processes", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the figures (default: none)")
    arguments = parser.parse_args()
    found = run(secrets.randbits(32) if arguments.seed is None else arguments.seed, arguments.processes)
    for row in found["properties"]:
        print(f"{row['kind']:12} {row['property']:52} {row['cases']:7,} cases {row['failures']:3} failures")
    total = f"{found['cases']:7,} cases {found['failures']:3} failures"
    print(f"{'all':65} {total} in {found['seconds']} s, seed {found['seed']}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(int(found["failures"] > 0 or not found["properties"]))


if __name__ == "__main__":
    main()
