"""The two models of a pair, timed in turns, if they compute the same."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from parity.backend.port import Task
from parity.clock import Use, Watch, measured, median_interval
from parity.errors import InputError
from parity.machine import usable_cores
from parity.pair.guard import CrashError, Guarded
from parity.pair.inputs import batches
from parity.pair.pair_file import SIDES, Pair, open_ports, read_pair
from parity.pair.records import CompareReport
from parity.pair.run import compare
from parity.pair_bench import worker
from parity.pair_bench.records import PairBenchConfig, PairBenchReport, PairRow
from parity.pair_bench.sizes import as_laid_out, resized, samples_in
from parity.pair_bench.worker import Key
from parity.progress import Progress, SilentProgress
from parity.signals import Interrupted

EAGER = "eager"  # the way that needs no compiler
WRONG = "not what the model gives in float64"


@dataclass
class _Timed:
    """A way, while it is measured."""

    side: str
    port: Guarded
    key: Key
    first_s: float = 0.0
    samples: list[float] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    note: str = ""


def bench_pair(
    config: PairBenchConfig, *, progress: Progress | None = None, command: str | None = None
) -> PairBenchReport:
    """Time both models of a pair in every way of their frameworks, if the forced pass of `compare` agrees.

    Args:
        config: what to measure.
        progress: shows how far it is.
        command: what made it, for the report; None for this call.

    Raises:
        InputError: bad input, a side that cannot start, or one that raises.
        Interrupted: Ctrl-C; its `report` holds the batch sizes that were done.

    Example::

        report = parity.bench_pair(PairBenchConfig(pair="pairs/cnn.py", batch_sizes=(8, 64)))
        for row in report.rows:
            print(row.side, row.way, row.task, row.batch_size, row.median_us)
    """
    started, told = time.perf_counter(), command or f"parity.bench_pair({config})"
    pair, rows, watch = read_pair(config.pair), [], Watch()
    settings: dict[str, str] = {}
    seen: CompareReport | None = None

    def report(complete: bool) -> PairBenchReport:
        environment = {} if seen is None else {k: str(v) for k, v in seen.environment.items()}
        return PairBenchReport(
            config=config,
            title=pair.title,
            verdict="" if seen is None else str(seen.verdict),
            not_compared=() if seen is None else seen.not_compared,
            rows=tuple(rows),
            environment=environment | settings,
            command=told,
            seconds=time.perf_counter() - started,
            complete=complete,
            doubts=watch.doubts(rows),
        )

    with progress or SilentProgress() as telling:
        telling.update(0.0, "whether the two compute the same")
        try:
            seen = compare(config.pair, questions=("forced", "optimizer"))
            if not seen.agrees:
                return report(complete=True)
            with open_ports(config.pair, threads=usable_cores()) as ports:
                for row in _measured(config, ports, pair, seen.layouts, watch, telling, settings):
                    rows.append(row)
        except CrashError as error:
            if rows:
                return report(complete=False)
            raise InputError(f"{error}; nothing can be timed without it") from error
        except KeyboardInterrupt as interruption:
            raise Interrupted(report(complete=False), *interruption.args) from None
    return report(complete=True)


def _measured(
    config: PairBenchConfig,
    ports: tuple[Guarded, Guarded],
    pair: Pair,
    layouts: Mapping[str, Sequence[int]],
    watch: Watch,
    progress: Progress,
    settings: dict[str, str],
) -> Iterator[PairRow]:
    own = batches(pair.inputs, 0)[0]
    sizes = config.batch_sizes or (samples_in(own),)
    ways = []
    for port, inputs in zip(ports, (own, as_laid_out(own, layouts)), strict=True):
        offered, found = port.call(worker.begin, inputs, pair.lift_float32, config.precision)
        ways.append(offered)
        settings.update(found)
    tasks = [Task.FORWARD]
    if all(port.has_loss for port in ports):
        tasks.append(Task.STEP if all(port.has_optimizer for port in ports) else Task.BACKWARD)
    notes: dict[Any, str] = {}  # a way that is wrong at one size of batch is not trusted at another
    groups = [(dtype, size) for dtype in config.dtypes for size in sizes]
    for number, (dtype, size) in enumerate(groups):
        progress.update(0.2 + 0.8 * number / len(groups), f"batches of {size} in {dtype}")
        ours = resized(own, size)
        given: dict[str, Any] = dict(zip(SIDES, (ours, as_laid_out(ours, layouts)), strict=True))
        timed = [
            _Timed(side, port, Key(task, way, dtype, size), note=notes.get((side, task, way, dtype), ""))
            for task in tasks
            for side, port, offered in zip(SIDES, ports, ways, strict=True)
            for way in offered
        ]
        is_first = size == sizes[0]
        for one in timed:
            _attempt(one, partial(_prepare, config, given[one.side], is_first))
            if one.note.startswith(WRONG):
                notes[one.side, one.key.task, one.key.way, dtype] = one.note
        for turn in (SIDES, SIDES[::-1]):
            for side in turn:
                watch.look()
                for one in (each for each in timed if each.side == side):
                    _attempt(one, partial(_time, config))
        watch.look()
        yield from _rows(timed)
        for port in ports:
            port.call(worker.release)
    progress.update(1.0, "done")


def _attempt(one: _Timed, work: Any) -> None:
    """Do something with a way, unless it has failed; note what its framework raises."""
    if one.note:
        return
    try:
        work(one)
    except (CrashError, InputError) as error:
        one.note = str(error)


def _prepare(config: PairBenchConfig, inputs: Mapping[str, Any], is_judged: bool, one: _Timed) -> None:
    one.first_s = one.port.call(worker.prepare, one.key, inputs, config.precision)
    if is_judged:  # with other sizes of batch it is the same program
        problem = one.port.call(worker.judge, one.key, inputs, config.precision)
        one.note = f"{WRONG}: {problem}" if problem else ""


def _time(config: PairBenchConfig, one: _Timed) -> None:
    turn = one.port.call(worker.take_turn, one.key, config.blocks, config.block_seconds)
    one.samples += [1e6 * value for value in turn.seconds]
    one.uses.append(turn.use)
    one.peaks += [] if turn.peak_bytes is None else [turn.peak_bytes]


def _rows(timed: Sequence[_Timed]) -> Iterator[PairRow]:
    for one in timed:
        row = PairRow(
            side=one.side, framework=one.port.framework, way=one.key.way, task=str(one.key.task), dtype=one.key.dtype,
            batch_size=one.key.batch_size, note=one.note, title=one.port.title,
        )  # fmt: skip
        if one.note:
            yield row
            continue
        median = median_interval(one.samples)[0]
        plain = [median_interval(each.samples)[0] for each in timed if _is_plain(each, one)]
        gain = min(plain, default=median) - median
        times = measured(one.samples, one.uses, one.first_s - median / 1e6, gain)
        yield replace(row, **times, peak_bytes=max(one.peaks, default=None))


def _is_plain(each: _Timed, one: _Timed) -> bool:
    """Whether a way does the task of a compiled one without a compiler."""
    return each.key.way == EAGER and one.key.way != EAGER and each.key.task is one.key.task and not each.note
