"""What does comparing a pair cost: seconds in all and by part, a draw against a plain step, memory against a trace?

    python benchmarks/compare_cost.py --out benchmarks/compare_cost.json
    python benchmarks/compare_cost.py --only encoder

Three pairs, in PyTorch and linen: a small BERT-like encoder, a residual CNN of 50 convolutions at 64 x 64, an MLP of
200 layers, each compared with all questions in a process of its own. A trace is what one run shows: every value at a
boundary and its cotangent, and every gradient. Memory is the slope of a forced pass's peak over the size
of a trace, between two sizes of batch, so that libraries and compiled programs count for nothing: once of what Python
and NumPy keep, once of all that is resident, with what PyTorch and JAX hold for their own steps.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import cache, partial
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import flax.linen as fnn
import jax
import jax.numpy as jnp
import optax
import torch
import torch.nn.functional as F
from torch import nn

import bnjax
import bntorch
import parity
from parity.backend.batch import map_arrays
from parity.backend.port import Mode, Played, Rounding
from parity.pair import forced, optimizer
from parity.pair.inputs import batches
from parity.progress import SilentProgress
from parity.verdict.noise import DRAWS

REPEATS = 5
LARGER_BY = 2**27  # bytes, by which the traces of two sizes of batch differ at least: allocators keep some themselves


# The models


class TorchAttentionBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        x = self.norm1(x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class TorchEncoder(nn.Module):
    def __init__(self, words: int, length: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(TorchAttentionBlock(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1])))
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


class FlaxAttentionBlock(fnn.Module):
    width: int
    heads: int

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def split(name: str) -> jax.Array:
            return fnn.Dense(self.width, name=name)(x).reshape(*x.shape[:2], self.heads, -1)

        y = fnn.dot_product_attention(split("query"), split("key"), split("value")).reshape(x.shape)
        x = fnn.LayerNorm(epsilon=1e-5, name="norm1")(x + fnn.Dense(self.width, name="out")(y))
        y = fnn.gelu(fnn.Dense(4 * self.width, name="up")(x), approximate=False)
        return fnn.LayerNorm(epsilon=1e-5, name="norm2")(x + fnn.Dense(self.width, name="down")(y))


class FlaxEncoder(fnn.Module):
    words: int
    length: int
    width: int
    heads: int
    layers: int

    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        x = fnn.Embed(self.words, self.width, name="words")(ids)
        x = x + fnn.Embed(self.length, self.width, name="positions")(jnp.arange(self.length))
        x = fnn.LayerNorm(epsilon=1e-5, name="norm")(x)
        for number in range(self.layers):
            x = FlaxAttentionBlock(self.width, self.heads, name=f"layers_{number}")(x)
        return fnn.Dense(2, name="head")(x[:, 0])


class TorchResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class TorchCnn(nn.Module):
    """A stem, `blocks` residual blocks of two convolutions, the size halved after each quarter by a maximum."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(TorchResidual(width) for _ in range(blocks))
        self.last, self.head = nn.Conv2d(width, 2 * width, 1), nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        for number, block in enumerate(self.blocks):
            x = block(F.max_pool2d(x, 2) if number % 6 == 5 else x)
        return self.head(self.last(x).mean((2, 3)))


class FlaxResidual(fnn.Module):
    width: int

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(fnn.BatchNorm, use_running_average=not train, momentum=0.9)
        y = norm(name="norm1")(fnn.Conv(self.width, (3, 3), use_bias=False, name="conv1")(x))
        y = fnn.Conv(self.width, (3, 3), use_bias=False, name="conv2")(fnn.relu(y))
        return fnn.relu(x + norm(name="norm2")(y))


class FlaxCnn(fnn.Module):
    width: int
    blocks: int

    @fnn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = fnn.Conv(self.width, (3, 3), name="stem")(x)
        x = fnn.relu(fnn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x))
        for number in range(self.blocks):
            x = fnn.max_pool(x, (2, 2), (2, 2)) if number % 6 == 5 else x
            x = FlaxResidual(self.width, name=f"blocks_{number}")(x, train)
        x = fnn.Conv(2 * self.width, (1, 1), name="last")(x)
        return fnn.Dense(10, name="head")(x.mean((1, 2)))


class TorchMlp(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.head(x)


class FlaxMlp(fnn.Module):
    width: int
    depth: int

    @fnn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number in range(self.depth):
            x = x + fnn.tanh(fnn.Dense(self.width, name=f"layers_{number}")(x))
        return fnn.Dense(10, name="head")(x)


def ports(ours: nn.Module, theirs: fnn.Module) -> tuple[Any, Any]:
    def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return (
        bntorch.port(ours, loss=F.cross_entropy, optimizer=lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        bnjax.port(theirs, loss=cross_entropy, optimizer=optax.sgd(0.1, momentum=0.9)),
    )


PAIRS: dict[str, tuple[Callable[[], tuple[Any, Any]], Callable[[int], dict[str, Any]]]] = {
    "encoder": (
        lambda: ports(TorchEncoder(1000, 32, 64, 4, 4), FlaxEncoder(1000, 32, 64, 4, 4)),
        lambda times: {
            "ids": parity.integers(4 * times, 32, below=1000),
            "labels": parity.integers(4 * times, below=2),
        },
    ),
    "cnn of 50 convolutions": (
        lambda: ports(TorchCnn(16, 24), FlaxCnn(16, 24)),
        lambda times: {"x": parity.normal(2 * times, 3, 64, 64), "labels": parity.integers(2 * times, below=10)},
    ),
    "mlp of 200 layers": (
        lambda: ports(TorchMlp(64, 200), FlaxMlp(64, 200)),
        lambda times: {"x": parity.normal(32 * times, 64), "labels": parity.integers(32 * times, below=10)},
    ),
}
ACCEPTED = {"cnn of 50 convolutions": ("biased_running_variance",)}


# What is measured


class Parts(SilentProgress):
    """The seconds between one announcement and the next."""

    def __init__(self) -> None:
        self._at = [(time.monotonic(), "start")]

    def update(self, share: float, description: str) -> None:
        """Note when it began."""
        self._at.append((time.monotonic(), description))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part."""
        ends = [*self._at[1:], (time.monotonic(), "")]
        return {
            words: round(end - begin, 1) for (begin, words), (end, _) in zip(self._at, ends, strict=True) if begin < end
        }


def compared(name: str) -> dict[str, Any]:
    """The time of a comparison."""
    make, inputs = PAIRS[name]
    parts = Parts()
    report = parity.compare(*make(), inputs=inputs(1), accept=ACCEPTED.get(name, ()), progress=parts)
    return {
        "verdict": str(report.verdict),
        "comparisons": report.comparisons,
        "worst_times_noise": report.worst,
        "seconds": round(report.seconds, 1),
        "parts": parts.seconds(),
        "threads": torch.get_num_threads(),
    }


def drawn(name: str) -> dict[str, Any]:
    """How many plain steps of the reference a draw of its noise floor takes, and one step with open boundaries."""
    make, inputs = PAIRS[name]
    (batch,) = batches(inputs(1), 0)
    port = make()[0]
    port.prepare(batch)

    def seconds(run: Callable[[], object]) -> float:
        run()
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        return median(times)

    step = seconds(partial(plain_step, name, batch))
    return {
        "plain_step_seconds": step,
        "open_step_over_plain": seconds(lambda: port.play(batch, Mode.TRAIN)) / step,
        "draw_over_plain": seconds(lambda: port.play(batch, Mode.TRAIN, None, Rounding(bits=48, seed=0))) / step,
    }


def plain_step(name: str, batch: Any) -> None:
    """Run the reference's module forward and backward, with nothing of ours, in float64."""
    model, loss = _plain(name)
    *given, labels = map_arrays(torch.from_numpy, batch).values()
    loss(model(*given), labels).backward()


@cache
def _plain(name: str) -> tuple[nn.Module, Any]:
    made = PAIRS[name][0]()[0]
    return made._model.double(), made.loss


def kept(name: str, times: int, draws: int) -> dict[str, float]:
    """The peaks during a forced pass, in bytes, and the size of a trace."""
    make, inputs = PAIRS[name]
    (batch,) = batches(inputs(times), 0)
    port = make()[0]
    port.prepare(batch)
    trace = size_of(port.play(batch, Mode.TRAIN))
    run = partial(parity.compare, inputs=inputs(times), accept=ACCEPTED.get(name, ()), questions=("forced",))
    with patch.object(forced, "DRAWS", draws), patch.object(optimizer, "DRAWS", draws):
        run(*make())
        resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tracemalloc.start()
        run(*make())
    return {"trace": trace, "kept": tracemalloc.get_traced_memory()[1], "resident": resident}


def memory(name: str) -> dict[str, Any]:
    """How many traces a comparison keeps, and with four times the draws; each size in a process of its own."""
    once = in_own_process(kept, name, 1, DRAWS)
    times = 1 + max(2, ceil(LARGER_BY / once["trace"]))
    larger, more = (in_own_process(kept, name, times, draws) for draws in (DRAWS, 4 * DRAWS))

    def slope(of: str, larger: dict[str, float]) -> float:
        return (larger[of] - once[of]) / (larger["trace"] - once["trace"])

    return {
        "trace_bytes": once["trace"],
        "draws": DRAWS,
        "kept_over_trace": slope("kept", larger),
        "resident_over_trace": slope("resident", larger),
        "resident_over_trace_with_4_times_the_draws": slope("resident", more),
    }


def in_own_process(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Measure in a process that has done nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def size_of(played: Played) -> int:
    """The bytes of a trace."""
    of = (played.values, played.cotangents, played.gradients, played.statistics)
    return sum(array.nbytes for each in of for array in each.values())


def main() -> int:
    """Measure, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(PAIRS), help="beginnings of names of pairs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    print(
        f"{'pair':24}{'verdict':12}{'seconds':>8}{'comparisons':>13}{'draw / step':>13}{'kept / trace':>14}"
        f"{'resident / trace':>18}",
        flush=True,
    )
    for name in PAIRS:
        if not any(name.startswith(each) for each in options.only):
            continue
        row = in_own_process(compared, name) | in_own_process(drawn, name) | memory(name)
        rows[name] = row
        print(
            f"{name:24}{row['verdict']:12}{row['seconds']:8.1f}{row['comparisons']:13,}{row['draw_over_plain']:13.1f}"
            f"{row['kept_over_trace']:14.1f}{row['resident_over_trace']:18.1f}",
            flush=True,
        )
        if options.out:
            environment = {"cores": os.cpu_count(), "torch": torch.__version__, "jax": jax.__version__}
            text = {"schema": 1, "environment": environment, "pairs": rows}
            options.out.write_text(json.dumps(text, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
