"""How often does the check cry wolf? Honest siblings, put to it at many random seeds.

    python benchmarks/honest_seeds.py --seeds 1000 --out benchmarks/honest_seeds.json

Each seed has initial weights of its own, and one of the settings: depth 1, 3, 8 or 25, with batch norm or without, in
float64, float32 or bfloat16. It is asked what the check asks, natural steps with carried windows and every probe: every
tensor of JAX and of PyTorch is held against the NumPy reference, and in float64 against the other's. What is flagged
must be 0; the largest distance in noise floors is what the safety factor is derived from.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from rich.progress import track

from parity.check.lockstep import CANDIDATE, REFERENCE, Asked, Comparison, ask_all
from parity.check.probes import Course, precision_episodes, samples_of, semantic_episodes
from parity.check.records import Question, Setting
from parity.data import load_dataset
from parity.process import Side
from parity.reference import NumpyBackend
from parity.sides import SideSpec, open_side
from parity.spec import ModelSpec, TrainSpec
from parity.verdict.compare import SAFETY
from parity.verdict.noise import unit_of

LEARNING_RATE = 0.1
DEPTHS, DTYPES = (1, 3, 8, 25), ("float64", "float32", "bfloat16")
DATASET = load_dataset("synthetic")


@dataclass
class Tally:
    """What was seen in one setting, over its seeds."""

    depth: int
    batch_norm: bool
    dtype: str
    seeds: int = 0
    comparisons: int = 0
    flagged: list[int] = field(default_factory=list)
    worst: dict[str, Any] = field(default_factory=lambda: {"times_noise": 0.0})

    def add(self, seed: int, found: Comparison) -> None:
        """Take in a seed."""
        self.seeds += 1
        self.comparisons += len(found.measurements)
        most = max(found.measurements, key=lambda m: m.times_noise)
        if not most.times_noise <= SAFETY:
            self.flagged.append(seed)
        if not most.times_noise <= self.worst["times_noise"]:
            place = {"step": most.step, "layer": most.layer, "tensor": most.tensor, "pair": "/".join(most.pair)}
            self.worst = {"times_noise": most.times_noise, "seed": seed, **place}


def ask(sides: dict[str, Side], third: Side, depth: int, batch_norm: bool, dtype: Any, seed: int) -> Comparison:
    """Put both siblings to all that the check asks of one network."""
    spec = ModelSpec(num_hidden_layers=depth, use_batch_norm=batch_norm)
    inputs = NumpyBackend().inputs(DATASET, spec, TrainSpec(seed=seed))
    course = Course(
        spec=spec,
        weights=inputs.weights,
        samples=samples_of(inputs),
        learning_rate=LEARNING_RATE,
        steps=(0, 3, 10),
        seed=seed,
        is_first=True,
    )
    setting = Setting(depth=depth, batch_norm=batch_norm, seed=seed, dtype=dtype)
    question, episodes = Question.SEMANTIC, semantic_episodes(course)
    if dtype != "float64":
        question, episodes = Question.PRECISION, precision_episodes(course, unit_of(dtype).bits)
    (found,) = ask_all([Asked(question, setting, episodes, sides)], third, "highest")
    return found


def run(seeds: range) -> Iterator[tuple[int, tuple[int, bool, str], Comparison]]:
    """Every seed in turn; the setting follows from it."""
    settings = list(product(DEPTHS, (True, False), DTYPES))
    with ExitStack() as stack:
        third, first, second = (
            stack.enter_context(open_side(SideSpec(target=name))) for name in ("numpy", "jax", "torch")
        )
        for seed in seeds:
            setting = settings[seed % len(settings)]
            yield seed, setting, ask({CANDIDATE: first, REFERENCE: second}, third, *setting, seed)


def main() -> int:
    """Run, write the result, and say it; 1 if anything was flagged."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    tallies = {setting: Tally(*setting) for setting in product(DEPTHS, (True, False), DTYPES)}
    seeds = range(options.first, options.first + options.seeds)
    for seed, setting, found in track(run(seeds), "seeds", total=len(seeds)):
        tallies[setting].add(seed, found)
    asked = [vars(tally) for tally in tallies.values() if tally.seeds]
    flagged = sorted(seed for tally in asked for seed in tally["flagged"])
    result = {
        "schema": 2,
        "seeds": options.seeds,
        "first_seed": options.first,
        "comparisons": sum(tally["comparisons"] for tally in asked),
        "safety": SAFETY,
        "flagged": flagged,
        "largest": max(tally["worst"]["times_noise"] for tally in asked),
        "settings": asked,
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(bool(flagged))


if __name__ == "__main__":
    sys.exit(main())
