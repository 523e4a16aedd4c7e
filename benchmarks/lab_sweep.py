"""How much faster the lab preset's sweep is than the same trials by the lab's own loop.

The sweep is timed as a process, from its start to its report, with caches of compiled programs that are empty. The
lab's loop (`bntorch.minibatch_sgd_one_pass`, one update after the other) would take hours, so it is estimated: for each
depth, with and without batch norm, some updates are timed before the sweep and some after it, and the median time of an
update is multiplied by the updates of the trials in `trials.csv`. Those are the grid and the bisection's path; what the
sweep trained beside the path, it did for itself and is not counted. Diverged trials are counted twice over: to the end,
as that loop would run them, and only to their divergence. Evaluations, which the sweep makes too, are not counted for
the loop. Before the sweep a dry run foretells how long it will take, in a process and with a cache of its own.

    python benchmarks/lab_sweep.py --framework jax --out benchmarks/lab_sweep_jax.json
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
import torch

import bntorch
from parity.commands.sweep import PRESETS
from parity.data import load_dataset, standardize, updates_per_pass
from parity.machine import usable_cores
from parity.spec import ModelSpec

FORETELL = """
import sys
from parity.backend import load_backend
from parity.commands.sweep import PRESETS
from parity.sweep import SweepConfig
from parity.sweep.forecast import forecast_sweep
preset, framework, dataset, device, data_dir, out = sys.argv[1:]
load_backend(framework).own_process()
words = {"framework": (framework,), "dataset": dataset, "device": device}
config = SweepConfig.from_words(vars(PRESETS[preset]) | words)
print(forecast_sweep(config, out=out, data_dir=data_dir or None).seconds[framework])
"""
CHUNK = 20  # updates in a sample
SAMPLES = 6  # of each turn
BATCH_SIZE = 32


def loop_seconds(inputs: np.ndarray, labels: np.ndarray, depth: int, batch_norm: bool) -> list[float]:
    """Seconds of an update by the lab's loop, in a few samples."""
    spec = ModelSpec(num_hidden_layers=depth, use_batch_norm=batch_norm)
    net = bntorch.create_train_state(bntorch.MultiLayerPerceptron.from_spec(spec))
    some = len(inputs[: CHUNK * BATCH_SIZE])
    found = []
    for sample in range(SAMPLES + 1):
        start = time.perf_counter()
        bntorch.minibatch_sgd_one_pass(
            net, inputs[:some], labels[:some], 0.01, BATCH_SIZE, rng=np.random.default_rng(sample)
        )
        found.append((time.perf_counter() - start) / updates_per_pass(some, BATCH_SIZE))
    return found[1:]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", required=True)
    parser.add_argument("--preset", default="lab", choices=sorted(PRESETS))
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--data-dir", default="")
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"), help="of the sweep and of the loop")
    parser.add_argument("--again", action="store_true", help="time the sweep once more, with what has been compiled")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    data = standardize(load_dataset(options.dataset, options.data_dir or None), 0.1)
    torch.set_default_device({"cpu": "cpu", "gpu": "cuda"}[options.device])
    updates = preset.passes * updates_per_pass(len(data.train_labels), BATCH_SIZE)
    cases = [(depth, on) for depth in preset.depths for on in (False, True)]
    samples: dict[tuple[int, bool], list[float]] = defaultdict(list)

    def sample_loops() -> None:
        for case in cases:
            samples[case] += loop_seconds(data.train_inputs, data.train_labels, *case)

    sample_loops()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "parity", "sweep", "--preset", options.preset]
        command += ["--framework", options.framework, "--dataset", options.dataset, "--out", f"{folder}/out"]
        command += ["--device", options.device, *(["--data-dir", options.data_dir] if options.data_dir else [])]
        caches = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch"}
        asked = options.preset, options.framework, options.dataset, options.device, options.data_dir, f"{folder}/out"
        apart = {name: f"{place}-foretold" for name, place in caches.items()}
        told = subprocess.run(
            [sys.executable, "-c", FORETELL, *asked], check=True, env={**os.environ, **apart}, stdout=subprocess.PIPE
        )
        start = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, **caches}, stdout=subprocess.DEVNULL)
        sweep_s = time.perf_counter() - start
        again_s = None
        if options.again:
            command[command.index(f"{folder}/out")] = f"{folder}/again"
            start = time.perf_counter()
            subprocess.run(command, check=True, env={**os.environ, **caches}, stdout=subprocess.DEVNULL)
            again_s = time.perf_counter() - start
        with Path(folder, "out", "trials.csv").open() as lines:
            trials = list(csv.DictReader(lines))
    sample_loops()
    per_update = {case: float(np.median(found)) for case, found in samples.items()}

    def loop_s(whole: bool) -> float:
        return sum(
            per_update[int(row["depth"]), row["batch_norm"] == "on"] * (updates if whole else int(row["steps"]))
            for row in trials
        )

    result = {
        "schema": 1,
        "command": f"python benchmarks/lab_sweep.py {' '.join(sys.argv[1:])}",
        "framework": options.framework,
        "device": torch.cuda.get_device_name() if options.device == "gpu" else f"{usable_cores()} cores",
        "trials": len(trials),
        "diverged": sum(row["status"] == "diverged" for row in trials),
        "sweep_s": sweep_s,
        "foretold_s": float(told.stdout),
        "sweep_again_s": again_s,
        "loop_to_the_end_s": loop_s(True),
        "loop_to_divergence_s": loop_s(False),
        "times_faster": loop_s(True) / sweep_s,
        "times_faster_to_divergence": loop_s(False) / sweep_s,
        "loop_us_per_update": {
            f"depth {depth}, batch norm {'on' if on else 'off'}": 1e6 * seconds
            for (depth, on), seconds in per_update.items()
        },
    }
    options.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    print(
        f"{len(trials)} trials, {result['diverged']} diverged; the sweep took {sweep_s:.0f} s, "
        f"foretold {result['foretold_s']:.0f} s"
    )
    for words, key in (("to the end", "times_faster"), ("to their divergence", "times_faster_to_divergence")):
        print(f"diverged trials counted {words}: {result[key]:.1f} times faster than the lab's loop")


if __name__ == "__main__":
    main()
