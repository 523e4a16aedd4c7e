"""Kill a running sweep with SIGKILL at random moments, resume it each time, and count what was lost.

    python benchmarks/survive_kills.py --framework jax --kills 100 --out benchmarks/survive_kills_jax.json

A sweep is run once without harm. Then the same command is started again and again, and killed after a random share of
the time that it takes from its first line on, one time in four from its very start on; when it does end, it starts anew
in another folder. After each kill the store is looked at:

- lost: a trial that was there before, and is not now;
- repeated: a trial that is there twice, or was trained again although it was there (its row was written anew);
- altered: a trial that differs in any bit from that of the sweep without harm.
"""

import argparse
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from parity.files import replace_file

TRIALS = "SELECT key, framework, depth, batch_norm, seed, learning_rate, result, losses, checksum, rowid FROM trials"
TABLES = ("trials.csv", "thresholds.csv")


@dataclass
class Counts:
    """What became of the trials, over all kills."""

    kills: int = 0
    kills_from_the_start: int = 0
    sweeps: int = 0
    looked_at: int = 0
    lost: int = 0
    repeated: int = 0
    altered: int = 0
    tables_that_differ: int = 0
    lines_of_traceback: int = 0


def command_of(options: argparse.Namespace) -> list[str]:
    """The sweep but for its folder: small, with every kind of ending."""
    return [
        sys.executable, "-m", "parity", "sweep", "--framework", options.framework, "--dataset", "synthetic",
        "--depths", "1", "2", "--batch-norm", options.batch_norm, "--learning-rates", "0.01:100:5",
        "--seeds", options.seeds, "--passes", "1", "--executor", options.executor,
    ]  # fmt: skip


def read(out: Path) -> dict[tuple, tuple]:
    """The trials of a store by what they are: key, result, losses, checksum, and the number of the row."""
    path = out / "sweep.sqlite"
    if not path.exists():
        return {}
    copy = Path(tempfile.mkdtemp()) / "copy"  # looking at it is not to change it
    copy.mkdir()
    for part in out.glob("sweep.sqlite*"):
        shutil.copy(part, copy)
    connection = sqlite3.connect(copy / "sweep.sqlite")
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trials'").fetchone():
            return {}
        rows = connection.execute(TRIALS).fetchall()
    finally:
        connection.close()
        shutil.rmtree(copy.parent)
    found = {tuple(row[1:6]): (row[0], *row[6:]) for row in rows}
    assert len(found) == len(rows), "a trial is there twice"
    return found


def run_whole(command: list[str], out: Path) -> tuple[float, float]:
    """Run it to its end; seconds from its start, and from its first line, to its end."""
    start = time.monotonic()
    with subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sweep:
        assert sweep.stderr is not None
        sweep.stderr.readline()
        first_line = time.monotonic()
        sweep.stderr.read()
    assert sweep.returncode == 0, sweep.returncode
    end = time.monotonic()
    return end - start, end - first_line


def kill_once(command: list[str], out: Path, after: float, at_start: bool) -> tuple[bool, bytes]:
    """Run it, and kill it so many seconds after its start, or its first line; whether it was, and what it said."""
    with subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sweep:
        assert sweep.stderr is not None
        first = b"" if at_start else sweep.stderr.readline()
        try:
            sweep.wait(after)
        except subprocess.TimeoutExpired:
            sweep.send_signal(signal.SIGKILL)
        rest = sweep.stderr.read()
    assert sweep.returncode in (0, -signal.SIGKILL), (sweep.returncode, first + rest)
    return sweep.returncode != 0, first + rest


def survive(command: list[str], kills: int, seed: int, folder: Path) -> Counts:
    """Kill and resume; see the top of this file."""
    rng, counts = random.Random(seed), Counts()
    from_start, from_line = run_whole(command, folder / "whole")
    expected = read(folder / "whole")
    out, before = folder / "0", {}
    while counts.kills < kills or before:
        at_start = rng.random() < 0.25
        limit = rng.uniform(0, from_start if at_start else from_line) if counts.kills < kills else 3600.0
        killed, said = kill_once(command, out, limit, at_start)
        counts.lines_of_traceback += said.count(b"Traceback")
        now = read(out)
        counts.kills += killed
        counts.kills_from_the_start += killed and at_start
        counts.looked_at += len(now)
        counts.lost += len(before.keys() - now.keys())
        counts.repeated += sum(now[key][-1] != row[-1] for key, row in before.items() if key in now)
        counts.altered += sum(row[:-1] != expected.get(key, ())[:-1] for key, row in now.items())
        before = now
        if not killed:
            counts.sweeps += 1
            counts.lost += len(expected.keys() - now.keys())
            counts.tables_that_differ += sum(
                (out / name).read_bytes() != (folder / "whole" / name).read_bytes() for name in TABLES
            )
            out, before = folder / str(counts.sweeps), {}
    return counts


def main() -> int:
    """Run it, print the counts, and write them; 1 if any is not 0."""
    parser = argparse.ArgumentParser(description="Kill a sweep at random moments, and count what is lost.")
    parser.add_argument("--framework", default="jax")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", default="in-process")
    parser.add_argument("--seeds", default="3", help="how many the sweep has")
    parser.add_argument("--batch-norm", default="both", help="whether the sweep's networks have it")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = survive(command_of(options), options.kills, options.seed, Path(folder))
    print(
        f"{options.framework}, {options.executor}: {counts.kills} kills in {counts.sweeps} sweeps, {counts.looked_at} "
        f"trials looked at: {counts.lost} lost, {counts.repeated} repeated, {counts.altered} altered"
    )
    if options.out:
        fields = {"framework": options.framework, "executor": options.executor, "seed": options.seed, **asdict(counts)}
        replace_file(options.out, (json.dumps(fields, indent=1) + "\n").encode())
    return int(
        any((counts.lost, counts.repeated, counts.altered, counts.tables_that_differ, counts.lines_of_traceback))
    )


if __name__ == "__main__":
    sys.exit(main())
