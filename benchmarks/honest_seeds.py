"""How often does the check cry wolf? The short lockstep of two honest siblings, at many random seeds.

    python benchmarks/honest_seeds.py --seeds 1000 --out benchmarks/honest_seeds.json

For each seed, at depth 1, 2 or 3 with batch norm: one natural step from that seed's initial weights and every probe, in
float64, every tensor of JAX against PyTorch and of both against the NumPy reference. What is flagged must be 0; the
largest distance in noise floors is what the safety factor is derived from.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path

from parity.check.compare import SAFETY
from rich.progress import track

from parity.check.lockstep import CANDIDATE, REFERENCE, semantic
from parity.check.probes import natural_episodes, probe_episodes, samples_of
from parity.check.records import Setting
from parity.check.sides import SideSpec, open_side
from parity.data import load_dataset
from parity.reference import NumpyBackend
from parity.spec import ModelSpec, TrainSpec

LEARNING_RATE = 0.1
DEPTHS = (1, 2, 3)


def main() -> int:
    """Run, write the result, and say it; 1 if anything was flagged."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    dataset, worst, comparisons, flagged = load_dataset("synthetic"), [], 0, []
    with ExitStack() as stack:
        third = stack.enter_context(open_side(SideSpec(target="numpy")))
        sides = {
            role: stack.enter_context(open_side(SideSpec(target=name)))
            for role, name in ((CANDIDATE, "jax"), (REFERENCE, "torch"))
        }
        for seed in track(range(options.first, options.first + options.seeds), "seeds", disable=None):
            spec = ModelSpec(num_hidden_layers=DEPTHS[seed % len(DEPTHS)])
            inputs = NumpyBackend().inputs(dataset, spec, TrainSpec(seed=seed))
            samples = samples_of(inputs)
            episodes = [
                *natural_episodes(spec, inputs.weights, samples, LEARNING_RATE, (0,), windows=0),
                *probe_episodes(spec, inputs.weights, samples, LEARNING_RATE, seed),
            ]
            setting = Setting(depth=spec.num_hidden_layers, batch_norm=True, seed=seed)
            found = semantic(sides, third, setting, episodes).measurements
            comparisons += len(found)
            largest = max(found, key=lambda m: m.times_noise)
            worst.append((largest.times_noise, seed, str(largest.step), str(largest.layer), largest.tensor))
            if not largest.times_noise <= SAFETY:
                flagged.append(seed)
    worst.sort(reverse=True)
    result = {
        "schema": 1,
        "seeds": options.seeds,
        "first_seed": options.first,
        "comparisons": comparisons,
        "safety": SAFETY,
        "flagged": flagged,
        "worst": [dict(zip(("times_noise", "seed", "step", "layer", "tensor"), w, strict=True)) for w in worst[:10]],
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(bool(flagged))


if __name__ == "__main__":
    sys.exit(main())
