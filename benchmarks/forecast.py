"""How far a dry run's forecast is from what then happens.

Each preset's sweep is foretold and run, in fresh processes with empty caches of compiled programs.

    python benchmarks/forecast.py --presets quick lab --out benchmarks/forecast.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parity.machine import usable_cores

FORETELL = """
import json, sys
from parity.backend import load_backend
from parity.commands.sweep import PRESETS
from parity.sweep import SweepConfig
from parity.sweep.forecast import forecast_sweep
preset, framework, dataset, out = sys.argv[1:]
load_backend(framework).own_process()
config = SweepConfig.from_words(vars(PRESETS[preset]) | {"framework": (framework,), "dataset": dataset})
print(json.dumps(forecast_sweep(config, out=out).seconds[framework]))
"""


def main() -> None:
    """Foretell, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["quick", "lab"])
    parser.add_argument("--frameworks", nargs="+", default=["jax", "torch"])
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for preset in options.presets:
        for framework in options.frameworks:
            with tempfile.TemporaryDirectory() as folder:

                def run(*command: str, cache: str, folder: str = folder) -> tuple[float, str]:
                    caches = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/{cache}", "TORCHINDUCTOR_CACHE_DIR": folder}
                    start = time.perf_counter()
                    done = subprocess.run(
                        [sys.executable, *command], check=True, env={**os.environ, **caches}, stdout=subprocess.PIPE
                    )
                    return time.perf_counter() - start, done.stdout.decode()

                out = f"{folder}/out"
                took, told = run("-c", FORETELL, preset, framework, options.dataset, out, cache="foretold")
                given = ("--preset", preset, "--framework", framework, "--dataset", options.dataset, "--out", out)
                seconds, _ = run("-m", "parity", "sweep", *given, cache="run")
            row = {"preset": preset, "framework": framework, "foretold_s": json.loads(told), "took_s": seconds,
                   "foretelling_s": took}  # fmt: skip
            rows.append(row)
            print(row, flush=True)
    found = {
        "schema": 1,
        "command": f"python benchmarks/forecast.py {' '.join(sys.argv[1:])}",
        "device": f"{usable_cores()} cores",
        "rows": rows,
    }
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
