"""What a side's process does while it is timed. Each function is handed the side's port."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite, log2
from typing import Any

from parity.backend.port import Call, End, Mode, Rounding, Task, Work, Workable, size_of
from parity.clock import Memory, Meter, Use
from parity.errors import InputError
from parity.process import THREAD_SETTINGS
from parity.spec import Precision
from parity.verdict.compare import SAFETY
from parity.verdict.noise import DRAWS, unit_of

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


def begin(port: Any, inputs: Mapping[str, Any], is_lifted: bool, precision: Precision) -> tuple[tuple[str, ...], dict]:
    """Set the side up, and do a task once in each way, so that nothing that is loaded once is taken for compiling.

    Returns:
        The ways in which the side's model can be run, and the settings of threads in force.
    """
    if not isinstance(port, Workable):
        raise InputError(f"a port of {port.framework} offers nothing to be timed: it has no ways and no work()")
    port.own_process()
    if is_lifted:
        port.lift()
    port.prepare(inputs)
    for way in port.ways:
        with suppress(Exception):  # which is told where it is timed
            port.work(inputs, Task.FORWARD, way, "float32", precision).run(1)
    port.forget()
    return port.ways, {name: os.environ.get(name, "") for name in (*THREAD_SETTINGS, "XLA_FLAGS")}


def prepare(port: Any, key: Key, inputs: Mapping[str, Any], precision: Precision) -> float:
    """Make ready for a task, and do it once; return the seconds that this takes."""
    work = port.work(inputs, key.task, key.way, key.dtype, precision)
    start = time.perf_counter()
    work.run(1)
    _running[key] = work
    return time.perf_counter() - start


def judge(port: Any, key: Key, inputs: Mapping[str, Any], precision: Precision) -> str:
    """Hold what a way gives at first against what the model gives in float64; return what is wrong, "" if nothing is.

    One number is compared: the loss, or the root of the sum of the squares of all outputs where there is none. The
    limit is `SAFETY` times what rounding in the dtype does to it, as `parity.pair.forced.witness` measures it.
    """
    mode = Mode.EVALUATION if key.task is Task.FORWARD else Mode.TRAIN
    bits = unit_of(key.dtype, precision).bits

    def shown(rounding: Rounding | None) -> float:
        played = port.play(inputs, mode, None, rounding, is_backward=False)
        if played.loss is not None:
            return float(played.loss)
        return size_of(value for b, value in played.values.items() if b.call == WHOLE and b.end is End.OUTPUT)

    expected = shown(None)
    if not (isfinite(expected) and expected):
        return "it cannot be judged, since the model itself gives no finite number, or 0"
    moved = [shown(Rounding(bits=bits - round(log2(SAFETY)), seed=seed)) for seed in range(DRAWS)]
    limit = max(abs(each - expected) for each in moved) / abs(expected) + SAFETY * 2.0**-bits
    if not port.has_loss:  # what a user's own call makes of the outputs is shown by no module
        expected = _size(port, replace(key, way=port.ways[0], dtype="float64"), inputs, precision)
    sizes = [_size(port, key, inputs, precision) for _ in range(2)]
    off = max(abs(size - expected) / abs(expected) for size in sizes)
    if off <= limit:
        return ""
    if sizes[0] != sizes[1]:
        return "it draws random numbers, as dropout that is called as a function does"
    what = "the loss" if port.has_loss else "what it gives"
    return f"{what} is off by {off:.2g} of its size ({limit:.2g} allowed)"


def _size(port: Any, key: Key, inputs: Mapping[str, Any], precision: Precision) -> float:
    """What a way gives at first, as one number."""
    work: Work = port.work(inputs, key.task, key.way, key.dtype, precision)
    work.run(1)
    return work.size()


def take_turn(port: Any, key: Key, blocks: int, block_seconds: float) -> Turn:
    """Time `blocks` blocks, each about `block_seconds` long; every block is waited for."""
    work, start = _running[key], time.perf_counter()
    work.run(1)
    count = min(MOST_RUNS, max(1, round(block_seconds / (time.perf_counter() - start))))
    memory, meter, found = Memory(), Meter(), []
    for _ in range(blocks):
        start = time.perf_counter()
        work.run(count)
        found.append((time.perf_counter() - start) / count)
    return Turn(found, meter.read(), memory.peak() if work.is_on_cpu else None)


def release(port: Any) -> None:
    """Forget what has been timed, and what was compiled for it."""
    _running.clear()
    port.forget()
