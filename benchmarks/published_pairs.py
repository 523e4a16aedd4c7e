"""What `bnparity compare` finds in ports that are published: of transformers, torch2jax, torchax and Equinox.

    python benchmarks/published_pairs.py --out benchmarks/published_pairs.json
    python benchmarks/published_pairs.py --only 'Mistral*' '*: padding*'
    python benchmarks/published_pairs.py --resume --out benchmarks/published_pairs.json

Each row is a published port beside its PyTorch model, in one small configuration with random weights: forward,
gradients and statistics, in evaluation and training. A row has a process of its own and a time limit, so that a crash
is a row of the table. transformers 4.57.6 runs with the pinned JAX and Flax as it is; where it raises for a name
that JAX has not, a second row with a shim sees further (`published/of_transformers.py`); torchax needs one
(`published/held.py`). Nothing is downloaded. Each disagreement is explained in `docs/findings`. The exit status is 1 if
a row is not what `known` of its entry says: an unknown disagreement, or a known one that is no longer there.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from published import every_entry
from published.entry import Entry
from published.table import summary, table, weaknesses

WIDTHS = (62, 11, 6, 8, 60, 24)
FAILED = ("error", "timeout")  # rows that have no verdict
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}
# Each row is forked from a process that has imported these, which takes as long as a row.
PROCESSES = multiprocessing.get_context("forkserver")
PRELOADED = (
    "torch",
    "bnjax",
    "bntorch",
    "parity.pair.run",
    "transformers.modeling_utils",
    "transformers.modeling_flax_utils",
)
PACKAGES = ("transformers", "torch2jax", "torchax", "equinox", "torch", "jax", "flax")


def main() -> int:
    """Run the rows, print the table, write the result; 1 if a row is not as it is known."""
    options = parse()
    os.environ.update(OFFLINE)
    PROCESSES.set_forkserver_preload([*PRELOADED])
    entries = [each for each in every_entry() if not options.only or any(fnmatch(each.name, p) for p in options.only)]
    if options.table:
        rows = json.loads(options.table.read_text(encoding="utf-8"))["rows"]
        print(summary(rows), "", *table(rows), "", *weaknesses(rows), sep="\n")
        return 0
    if not entries:
        raise SystemExit(f"no row is called {' or '.join(options.only)}; `--list` shows their names")
    if options.list:
        print(*(each.name for each in entries), sep="\n")
        return 0
    found = read(options.out) if options.resume else {}
    print(line(("pair", "verdict", "values", "furthest", "found at", "cause")))
    rows = []
    for row in run(entries, options.jobs, options.time_limit, found):
        print("\n".join(map(line, cells(row))), flush=True)
        rows.append(row)
        found.pop(row["name"], None)
        if options.out:
            write(options.out, [*rows, *found.values()])  # nothing of an earlier run is lost
    print(f"\n{summary(rows)}")
    return int(not all(row["is_known"] for row in rows))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="names of rows, as 'Bert*'")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="rows at once")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds for a row")
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and do nothing else")
    parser.add_argument("--out", type=Path, help="write the rows as JSON, each as soon as it is there")
    parser.add_argument("--resume", action="store_true", help="keep the rows that --out holds, and run the others")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print the table of a run's findings, no more")
    options = parser.parse_args()
    if options.resume and not options.out:
        parser.error("--resume needs --out")
    return options


def run(
    entries: Sequence[Entry], jobs: int, time_limit: float, found: Mapping[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the row of every entry, in order; `jobs` at once."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(lambda each: judged(each, time_limit, found.get(each.name)), entries)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def judged(entry: Entry, time_limit: float, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return an entry's row: what was found before, or what is found now, and whether that is what is known."""
    row = dict(found or ran(entry, time_limit))
    row |= {
        "name": entry.name,
        "architecture": entry.architecture,
        "configuration": entry.configuration,
        "package": entry.package,
        "inputs": entry.shapes,
        "known": list(entry.known),
        "weakness": entry.weakness,
    }
    row["is_known"] = row["verdict"] not in FAILED and (row["verdict"] == "disagree") == bool(
        entry.known or entry.weakness
    )
    return row


def ran(entry: Entry, time_limit: float) -> dict[str, Any]:
    """Run an entry in a process of its own and return what was found."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        process = PROCESSES.Process(target=write_row, args=(entry.name, out))
        process.start()
        process.join(time_limit)
        if process.is_alive():
            process.kill()
            process.join()
            return nothing("timeout", f"no answer within {time_limit:g} seconds")
        if not out.exists():
            return nothing("error", f"its process ended with {process.exitcode}")
        return json.loads(out.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def nothing(verdict: str, words: str) -> dict[str, Any]:
    """Return what a row holds where there is no report."""
    return {"verdict": verdict, "comparisons": 0, "worst": 0.0, "findings": [], "not_compared": [words], "seconds": 0.0}


def write_row(name: str, out: Path) -> None:
    """In a row's own process: compare, and write what was found."""
    warnings.simplefilter("ignore")
    from published.row import row

    (entry,) = (each for each in every_entry() if each.name == name)
    try:
        found = row(entry)
    except Exception as error:  # a published package can raise anything, and so can its import
        found = nothing("error", f"{type(error).__name__}: {error}")
    out.write_text(json.dumps(found), encoding="utf-8")


def cells(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for people: a line for each finding."""
    own = row["name"], row["verdict"], str(row["comparisons"]), f"{row['worst']:g}"
    places = [(each["place"] or each["kind"], each["cause"]) for each in row["findings"]] or [("", "")]
    if row["verdict"] in FAILED:
        places = [(row["not_compared"][0], "")]
    for number, place in enumerate(places):
        yield *(own if not number else ("",) * len(own)), *place


def line(values: Sequence[str]) -> str:
    """Return values in columns, each cut to its column."""
    return " ".join(f"{value[:width]:{width}}" for value, width in zip(values, WIDTHS, strict=True)).rstrip()


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier run that came to a verdict, by name."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    names = {each.name for each in every_entry()}
    return {row["name"]: row for row in rows if row["verdict"] not in FAILED and row["name"] in names}


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows with the versions, as JSON."""
    from published.row import version

    environment = {each: version(each) for each in PACKAGES}
    environment |= {"python": platform.python_version(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    text = json.dumps({"schema": 1, "environment": environment, "rows": rows}, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
