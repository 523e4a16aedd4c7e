"""A benchmark from its configuration to its report."""

import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from parity.backend import Mode, backend_names
from parity.bench import worker
from parity.bench.config import BenchConfig, Case
from parity.bench.floor import COPIED_ON_DEVICE, STACKED_TO_FILL, Floor, Shape, Timer, copy_rate
from parity.bench.judge import choose_batch, judge
from parity.bench.records import BenchReport, Operation, Row
from parity.bench.worker import Key
from parity.clock import Use, Watch, measured, median_interval
from parity.errors import InputError
from parity.machine import usable_cores
from parity.process import Side, SideError
from parity.progress import Progress, SilentProgress
from parity.sides import SideSpec, open_side
from parity.signals import Interrupted

LAB_LOOP = "eager_loop"  # the lab's: a plain loop of eager updates
SHOWN_OPERATIONS = 10
WITNESS = "numpy"
FAILED = "failed the parity check"


@dataclass
class _Timed:
    """A mode in a case, while it is measured."""

    framework: str
    mode: Mode
    key: Key
    population: int = 0
    first_s: float = 0.0
    samples: list[float] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    note: str = ""


def bench(config: BenchConfig, *, progress: Progress | None = None, command: str | None = None) -> BenchReport:
    """Time every mode of every framework in every case.

    Args:
        config: what to measure.
        progress: shows how far it is.
        command: what made it, for the report; None for this call.

    Raises:
        InputError: bad input, or a framework that cannot start.
        Interrupted: Ctrl-C; its `report` holds the cases that were done.

    Example::

        report = parity.bench(BenchConfig(frameworks=("jax", "torch"), cases=(Case(depth=1),)))
        for row in report.rows:
            print(row.framework, row.mode, row.population, row.median_us)
    """
    start, rows, profiles, watch = time.perf_counter(), [], {}, Watch()

    def report(complete: bool) -> BenchReport:
        return BenchReport(
            config=config,
            rows=tuple(rows),
            profiles=profiles,
            environment=environment,
            command=command or f"parity.bench({config})",
            seconds=time.perf_counter() - start,
            complete=complete,
            doubts=watch.doubts(rows),
        )

    with (
        _open(config) as sides,
        open_side(SideSpec(target=WITNESS, threads=1)) as witness,
        progress or SilentProgress() as telling,
    ):
        environment: dict[str, str] = {}
        try:
            environment |= _environment(sides)
            # A port of someone's own goes by the name that it was given, whatever it is made of.
            titles = {
                name: side.call(worker.title) if name in backend_names() else name for name, side in sides.items()
            }
            modes = {name: side.call(worker.describe_modes) for name, side in sides.items()}
            for name, offered in modes.items():
                if not offered:
                    raise InputError(f"{name} has no mode to be timed; choose another --framework")
            floors = _floors(sides, witness)
            for number, case in enumerate(config.cases):
                telling.update(number / (len(config.cases) + 1), str(case))
                timed = list(_plan(config, modes, case))
                _measure(config, sides, timed, watch)
                in_case = {name: floor.microseconds(case) for name, floor in floors.items()}
                rows += [replace(row, title=titles[row.framework]) for row in _rows(config, timed, in_case)]
            telling.update(len(config.cases) / (len(config.cases) + 1), "profiles")
            profiles |= {name: found for name, side in sides.items() if (found := _profile(config, side, modes[name]))}
            telling.update(1.0, "done")
        except KeyboardInterrupt as interruption:
            raise Interrupted(report(complete=False), *interruption.args) from None
        except SideError as error:
            raise InputError(f"a process of the benchmark {error}; nothing can be compared without it") from error
    return report(complete=True)


@contextmanager
def _open(config: BenchConfig) -> Iterator[dict[str, Side]]:
    """Start a process for each framework; its caches of compiled programs are empty and its own."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnparity-bench-"))
        sides: dict[str, Side] = {}
        for name in config.frameworks:
            spec = SideSpec(
                target=name,
                device=config.device,
                precision=config.precision,
                time_limit=config.time_limit,
                threads=usable_cores(),
                whole_machine=True,
                cache=folder,
            )
            sides[name] = stack.enter_context(open_side(spec))
        yield sides


def _plan(config: BenchConfig, modes: Mapping[str, Mapping[str, Mode]], case: Case) -> Iterator[_Timed]:
    """Yield what is timed in a case. The plain loops are always included: the other modes are compared with them."""
    for framework in config.frameworks:
        for name, mode in modes[framework].items():
            if mode.compiles and not case.compiled:
                continue
            if not mode.many and not mode.loop and not case.loops:
                continue
            for members in case.populations if mode.many else (1,):
                yield _Timed(framework, mode, Key(case, name, members))


def _measure(config: BenchConfig, sides: Mapping[str, Side], timed: Sequence[_Timed], watch: Watch) -> None:
    """Make every mode ready, judge its steps, time it in turns, and judge it again."""
    failed: dict[tuple[str, str], str] = {}  # a mode that is wrong for one population is not trusted with another
    for one in timed:
        one.note = failed.get((one.framework, one.key.mode), "")
        _attempt(one, partial(_prepare, config, sides[one.framework]))
        if one.note.startswith(FAILED):
            failed[one.framework, one.key.mode] = one.note
    for turn in (config.frameworks, config.frameworks[::-1]):
        for framework in turn:
            watch.look()
            for one in timed:
                if one.framework == framework:
                    _attempt(one, partial(_time, config, sides[framework]))
    watch.look()
    for one in timed:
        _attempt(one, partial(_judge, config, sides[one.framework], 0))
    for framework, side in sides.items():
        _forget(side, [one.key for one in timed if one.framework == framework])


def _attempt(one: _Timed, work: Any) -> None:
    """Do something with a mode, unless it has failed; note what its framework raises."""
    if one.note:
        return
    try:
        work(one)
    except SideError as error:
        one.note = str(error)


def _prepare(config: BenchConfig, side: Side, one: _Timed) -> None:
    prepared = side.call(worker.prepare, one.key, config.num_samples)
    one.population, one.first_s, one.note = prepared.population, prepared.first_s, prepared.note
    if one.note:
        return
    # In float64 it is another program: held against the reference once, and not where it waits for a compiler.
    if not one.mode.compiles and one.key.members == (one.key.case.populations[0] if one.mode.many else 1):
        _judge_in_float64(config, side, one)
    if not one.note:
        _judge(config, side, -1, one)


def _judge_in_float64(config: BenchConfig, side: Side, one: _Timed) -> None:
    wide = replace(one, key=replace(one.key, dtype="float64"))
    prepared = side.call(worker.prepare, wide.key, config.num_samples)
    one.note = prepared.note
    if not one.note:
        try:
            _judge(config, side, -1, wide)
        finally:
            _forget(side, [wide.key])
        one.note = wide.note


def _judge(config: BenchConfig, side: Side, member: int, one: _Timed) -> None:
    """Compare one step of a member with the reference."""
    key, member = one.key, member % one.population
    data = worker.training_set(config.num_samples, key.case.spec)
    rng = np.random.default_rng(len(one.samples))
    state = side.call(worker.state, key, member)
    batch = choose_batch(
        key, config.precision, state, lambda: rng.integers(config.num_samples, size=key.case.batch_size), data
    )
    problem = judge(key, config.precision, side.call(worker.sample, key, config.num_samples, member, batch))
    if problem:
        one.note = f"{FAILED} in {key.dtype}: {problem}"


def _time(config: BenchConfig, side: Side, one: _Timed) -> None:
    turn = side.call(worker.take_turn, one.key, config.num_samples, config.blocks, config.block_seconds)
    one.samples += [1e6 * value / one.population for value in turn.seconds]
    one.uses.append(turn.use)


def _forget(side: Side, keys: Sequence[Key]) -> None:
    try:
        side.call(worker.release, keys)
    except SideError:
        return  # it has ended, and has nothing left to forget


def _rows(config: BenchConfig, timed: Sequence[_Timed], floors: Mapping[str, float]) -> Iterator[Row]:
    def median_of(one: _Timed | None) -> float | None:
        return None if one is None or one.note or not one.samples else median_interval(one.samples)[0]

    loops = {one.framework: median_of(one) for one in timed if one.mode.loop}
    lab = median_of(next((one for one in timed if one.key.mode == LAB_LOOP), None))
    for one in timed:
        row = Row(
            framework=one.framework,
            mode=one.key.mode,
            device=config.device or "default",
            precision=config.precision,
            case=one.key.case,
            population=one.population or one.key.members,
            note=one.note,
        )
        if one.note:
            yield row
            continue
        median, loop = median_interval(one.samples)[0], loops.get(one.framework)
        gain = loop - median if loop is not None and not one.mode.loop else 0.0
        compile_s = one.first_s - median * one.population * worker.WARM_UP / 1e6
        yield replace(
            row,
            **measured(one.samples, one.uses, compile_s, gain),
            floor_us=floors[""],
            own_floor_us=own if math.isfinite(own := floors[one.framework]) else None,
            ratio_to_floor=median / floors[""],
            ratio_to_lab_loop=None if lab is None else lab / median,
        )


def _floors(sides: Mapping[str, Side], witness: Side) -> dict[str, Floor]:
    """The floor of the machine, as "", and of each framework's own products alone."""
    own: dict[str, Timer] = {name: cache(partial(_product_seconds, side)) for name, side in sides.items()}
    best = [*own.values()]
    if any(side.call(worker.accelerator) for side in sides.values()):
        copies = [side.call(worker.copy_seconds, COPIED_ON_DEVICE) for side in sides.values()]
        rate = 2 * COPIED_ON_DEVICE / min(seconds for seconds in copies if seconds is not None)
        of = partial(Floor, copy_rate=rate, devices=1, models=STACKED_TO_FILL)
    else:
        best.append(partial(witness.call, worker.product_seconds))
        of = partial(Floor, copy_rate=copy_rate(), devices=usable_cores())
    return {"": of(best)} | {name: of([timer]) for name, timer in own.items()}


def _product_seconds(side: Side, left: Shape, right: Shape) -> float:
    """Return the seconds of a product; infinity from a framework whose process has ended, which its rows say."""
    try:
        return side.call(worker.product_seconds, left, right)
    except SideError:
        return math.inf


def _profile(config: BenchConfig, side: Side, modes: Mapping[str, Mode]) -> tuple[Operation, ...]:
    name = next((name for name, mode in modes.items() if mode.many and not mode.compiles), None)
    if name is None or not config.profile_depth:
        return ()
    key = Key(Case(depth=config.profile_depth, populations=(8,)), name, 8, one_lane=True)
    try:
        found = side.call(worker.profile, key, config.num_samples)
    except SideError:
        return ()
    total = sum(seconds for _, seconds in found)
    return tuple(Operation(operation, seconds / total) for operation, seconds in found[:SHOWN_OPERATIONS] if total)


def _environment(sides: Mapping[str, Side]) -> dict[str, str]:
    found: dict[str, str] = {}
    for side in sides.values():
        found |= side.call(worker.environment)
    ours = {
        "bnparity": version("bnparity"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "machine": f"{platform.system()} {platform.machine()}, {usable_cores()} cores",
        "processor": _processor(),
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }
    return found | ours


def _processor() -> str:
    """Return the processor's name and clock, if the system reports them."""
    wanted = {"model name": "", "cpu MHz": ""}
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() in wanted and not wanted[name.strip()]:
                    wanted[name.strip()] = value.strip()
    except OSError:
        return platform.processor()
    clock = f", {wanted['cpu MHz']} MHz" if wanted["cpu MHz"] else ""
    return (wanted["model name"] or platform.processor()) + clock
