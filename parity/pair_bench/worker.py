"""What a side's process does while it is timed. Each function is handed the side's port."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

from parity.backend.port import Call, End, Mode, Port, Rounding, Task, Work, Workable, size_of
from parity.clock import Memory, Meter, Use
from parity.errors import InputError
from parity.spec import Precision
from parity.verdict.compare import SAFETY
from parity.verdict.noise import DRAWS, MANTISSA_BITS

MOST_RUNS = 4096  # in a block
WHOLE = Call("", 0)


@dataclass(frozen=True)
class Key:
    """A way to do a task."""

    task: Task
    way: str
    dtype: str
    batch_size: int


@dataclass(frozen=True)
class Turn:
    """Seconds for a batch, of each block; what was used of the processors; the peak of memory, if it can be told."""

    seconds: list[float]
    use: Use
    peak_bytes: int | None


_running: dict[Key, Work] = {}


def ways(port: Any) -> tuple[str, ...]:
    """Return the ways in which the side's model can be run."""
    if not isinstance(port, Workable):
        raise InputError(f"a port of {port.framework} offers nothing to be timed: it has no ways and no work()")
    return port.ways


def prepare(port: Any, key: Key, inputs: Mapping[str, Any], precision: Precision) -> float:
    """Make ready for a task, and do it once; return the seconds."""
    start = time.perf_counter()
    work = port.work(inputs, key.task, key.way, key.dtype, precision)
    work.run(1)
    _running[key] = work
    return time.perf_counter() - start


def judge(port: Port, key: Key, inputs: Mapping[str, Any], precision: Precision) -> str:
    """Hold what a way gives at first against what the port plays in float64; return what is wrong, "" if nothing is.

    One number is compared: the loss, or the root of the sum of the squares of all outputs. The limit is `SAFETY` times
    what rounding in the dtype does to it, as `parity.pair.forced.witness` measures it.
    """
    mode = Mode.TRAIN if key.task is Task.STEP else Mode.EVALUATION
    bits = MANTISSA_BITS[key.dtype]

    def shown(rounding: Rounding | None) -> float:
        played = port.play(inputs, mode, None, rounding, is_backward=False)
        if key.task is Task.STEP:
            return float("nan") if played.loss is None else played.loss
        return size_of(value for b, value in played.values.items() if b.call == WHOLE and b.end is End.OUTPUT)

    expected = shown(None)
    moved = [shown(Rounding(bits=bits - round(log2(SAFETY)), seed=seed)) for seed in range(DRAWS)]
    limit = max(abs(each - expected) for each in moved) + SAFETY * 2.0**-bits * abs(expected)
    work = port.work(inputs, key.task, key.way, key.dtype, precision)  # type: ignore[attr-defined]
    work.run(1)
    off = abs(work.size() - expected)
    if off <= limit:
        return ""
    what = "the loss" if key.task is Task.STEP else "what it gives"
    return f"{what} is off by {off / abs(expected):.2g} of its size ({limit / abs(expected):.2g} allowed)"


def take_turn(port: Any, key: Key, blocks: int, block_seconds: float) -> Turn:
    """Time `blocks` blocks, each at least `block_seconds` long; every block is waited for."""
    work, start = _running[key], time.perf_counter()
    work.run(1)
    count = min(MOST_RUNS, max(1, round(block_seconds / (time.perf_counter() - start))))
    memory, meter, found = Memory(), Meter(), []
    for _ in range(blocks):
        start = time.perf_counter()
        work.run(count)
        found.append((time.perf_counter() - start) / count)
    return Turn(found, meter.read(), memory.peak())


def release(port: Any) -> None:
    """Forget what has been timed, and what was compiled for it."""
    _running.clear()
    port.forget()
