"""Estimates from their configuration to their report."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from parity.backend import backend_names
from parity.backend.compiler import CannotBeCompiled, no_machine
from parity.backend.port import Task
from parity.errors import InputError
from parity.estimate import worker
from parity.estimate.chip import CHIPS, roofline_of
from parity.estimate.config import EstimateConfig, cannot_share
from parity.estimate.records import EstimateReport, EstimateRow
from parity.estimate.worker import Wanted
from parity.pair.guard import CrashError, Guarded
from parity.pair.inputs import batches
from parity.pair.pair_file import SIDES, open_ports, read_pair
from parity.pair.run import compare
from parity.pair_bench.sizes import as_laid_out, resized, sample_axes, samples_in
from parity.process import SideError
from parity.progress import Progress, SilentProgress
from parity.sides import SideSpec, open_side
from parity.signals import Interrupted

Call = Callable[..., Any]
LOOP = "it has a loop, whose operations the compiler counts once"


class _DifferError(Exception):
    """The two models of a pair do not compute the same."""


def estimate(config: EstimateConfig, *, progress: Progress | None = None, command: str | None = None) -> EstimateReport:
    """Compile programs with the compiler of a chip that this machine need not have, and say what it says of them.

    Args:
        config: what to compile, and for what.
        progress: shows how far it is.
        command: what made it, for the report; None for this call.

    Raises:
        InputError: bad input, or no framework that has such a compiler here.
        Interrupted: Ctrl-C; its `report` holds the programs that were done.

    Example::

        report = parity.estimate(EstimateConfig(compile_for="v5e"))
        for row in report.rows:
            print(row.group, row.program, row.models, row.estimate_us, row.roofline_us)
    """
    started, rows, left_out = time.perf_counter(), [], []
    environment: dict[str, str] = {}
    title, differs = "this project's networks", ""

    def report(complete: bool) -> EstimateReport:
        return EstimateReport(
            config=config,
            title=title,
            rows=tuple(rows),
            left_out=tuple(left_out),
            differs=differs,
            environment=environment,
            command=command or f"parity.estimate({config})",
            seconds=time.perf_counter() - started,
            complete=complete,
        )

    with no_machine(), progress or SilentProgress() as telling:
        try:
            if config.pair:
                title = read_pair(config.pair).title
                work = _of_pair(config, telling, left_out, environment)
            else:
                work = _of_networks(config, telling, left_out, environment)
            for row in work:
                rows.append(row)
        except _DifferError as error:
            differs = str(error)
            return report(complete=True)
        except (CrashError, SideError) as error:
            if rows:
                left_out.append(f"what was to come: {error}")
                return report(complete=False)
            raise InputError(f"{error}; without it nothing can be compiled") from error
        except KeyboardInterrupt as interruption:
            raise Interrupted(report(complete=False), *interruption.args) from None
    if not rows:
        raise InputError(f"nothing can be compiled for {config.compile_for}: {'; '.join(left_out)}")
    return report(complete=True)


def _of_networks(
    config: EstimateConfig, progress: Progress, left_out: list[str], environment: dict[str, str]
) -> Iterator[EstimateRow]:
    for name in config.frameworks or backend_names():
        with open_side(SideSpec(target=name, precision=config.precision, time_limit=None)) as side:
            found = side.call(worker.begin, config.chips, config.cases, config.num_samples)
            if isinstance(found, str):
                left_out.append(found)
                continue
            environment |= side.call(worker.versions)
            for number, wanted in enumerate(found):
                told = f"{name}: {wanted.program.name} at {wanted.group}"
                progress.update(number / len(found), told)
                yield _row(config, name, wanted, number, side.call)
    progress.update(1.0, "done")


def _of_pair(
    config: EstimateConfig, progress: Progress, left_out: list[str], environment: dict[str, str]
) -> Iterator[EstimateRow]:
    """Compile both models, if they compute the same: only then it is known how the candidate's batch is laid out."""
    pair = read_pair(config.pair)
    progress.update(0.0, "whether the two compute the same")
    seen = compare(config.pair, questions=("forced",))
    environment |= {name: str(value) for name, value in seen.environment.items()}
    if not seen.agrees:
        raise _DifferError(f"the verdict on the two is {seen.verdict}; bnparity compare {config.pair} says why")
    own = batches(pair.inputs, 0)[0]
    sizes = config.batch_sizes or (samples_in(own),)
    if unfit := [size for size in sizes if size % config.chips.count]:
        raise InputError(cannot_share(config.chips.count, unfit[0]))
    with open_ports(config.pair) as ports:
        for place, (side, port) in enumerate(zip(SIDES, ports, strict=True)):
            layouts = seen.layouts if side == SIDES[1] else {}
            if not port.call(worker.begin_port, as_laid_out(own, layouts), pair.lift_float32):
                left_out.append(f"the {side}: {port.framework} has no compiler for chips that are not here")
                continue
            asked = [(dtype, size, task) for dtype in config.dtypes for size in sizes for task in _tasks(port)]
            for number, (dtype, size, task) in enumerate(asked):
                told = f"the {side}: {task}, batches of {size} in {dtype}"
                progress.update((place + number / len(asked)) / len(SIDES), told)
                inputs, axes = resized(own, size), sample_axes(own, layouts)
                asked_of = config.chips, as_laid_out(inputs, layouts), axes, task, dtype, config.precision
                wanted = port.call(worker.of_port, size, *asked_of)
                yield _row(config, port.framework, wanted, 0, port.call, side)
    progress.update(1.0, "done")


def _tasks(port: Guarded) -> tuple[Task, ...]:
    if not port.has_loss:
        return (Task.FORWARD,)
    return (Task.FORWARD, Task.STEP if port.has_optimizer else Task.BACKWARD)


def _row(
    config: EstimateConfig, framework: str, wanted: Wanted, number: int, call: Call, side: str = ""
) -> EstimateRow:
    seconds, said = call(worker.compile_program, number)
    program, chip = wanted.program, CHIPS[config.chips.kind]
    row: dict[str, Any] = {
        "framework": framework,
        "group": wanted.group,
        "program": f"{side}: {program.name}" if side else program.name,
        "dtype": wanted.dtype,
        "models": program.models,
        "per": program.per,
        "compile_s": seconds,
    }
    if isinstance(said, CannotBeCompiled):
        return EstimateRow(**row, fits=False if said.lacks_memory else None, note=said.words)
    row |= {"memory_bytes": said.memory_bytes, "fits": said.memory_bytes <= chip.memory}
    if said.has_loop or not program.count:
        return EstimateRow(**row, note=LOOP)
    roofline = roofline_of(chip, said)
    return EstimateRow(
        **row,
        operations=said.operations / program.count,
        moved_bytes=said.moved_bytes / program.count,
        estimate_us=None if said.estimate_s is None else 1e6 * said.estimate_s / program.count,
        not_estimated=said.not_estimated,
        roofline_us=1e6 * roofline.seconds / program.count,
        roofline_by=roofline.by,
    )
