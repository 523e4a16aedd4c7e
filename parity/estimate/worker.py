"""What a framework's process does for estimates. Each function is handed its backend, or a port."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parity.backend import Backend
from parity.backend.compiler import CannotBeCompiled, ChipProgram, Chips, Compilable, Compiled
from parity.backend.port import Task
from parity.bench.config import Case
from parity.errors import InputError
from parity.spec import DType, Precision

CHECKED: tuple[DType, ...] = ("float32", "float64")  # what `check` asks a framework's steps in


@dataclass(frozen=True)
class Wanted:
    """A program, as the caller may know it: without what compiles it, which stays in this process.

    Args:
        group: what it is of.
        dtype: working dtype.
        program: see `ChipProgram`.
    """

    group: str
    dtype: str
    program: ChipProgram


_programs: list[ChipProgram] = []


def begin(backend: Backend, chips: Chips, cases: Sequence[Case], samples: int) -> list[Wanted] | str:
    """Return the programs of networks, or why there is no compiler."""
    try:
        compiler = backend.compiler(chips)
    except InputError as error:
        return str(error)
    found = []
    for case in cases:
        size, group = case.batch_size, str(case)
        for members in case.populations:
            for lanes in compiler.lanes:
                own = compiler.population(case.spec, members, lanes, samples, "float32", size)
                found += [Wanted(group, "float32", program) for program in own]
        for dtype in CHECKED:
            found += [Wanted(group, dtype, program) for program in compiler.learner(case.spec, dtype, size)]
    return _kept(found)


def begin_port(port: Any, inputs: Mapping[str, Any], is_lifted: bool) -> bool:
    """Set a port up; return whether its model can be compiled for chips."""
    if not isinstance(port, Compilable):
        return False
    if is_lifted:
        port.lift()
    port.prepare(inputs)
    return True


def of_port(
    port: Any,
    size: int,
    chips: Chips,
    inputs: Mapping[str, Any],
    axes: Mapping[str, Any],
    task: Task,
    dtype: str,
    precision: Precision,
) -> Wanted:
    """Return the program of a task of a port's model on a batch of a size."""
    program = port.compile_for(chips, inputs, axes, task, dtype, precision)
    (wanted,) = _kept([Wanted(f"batches of {size} in {dtype}", dtype, program)])
    return wanted


def _kept(found: Sequence[Wanted]) -> list[Wanted]:
    _programs[:] = [wanted.program for wanted in found]
    return [replace(wanted, program=replace(wanted.program, compile=None)) for wanted in found]


def compile_program(subject: Any, number: int) -> tuple[float, Compiled | CannotBeCompiled]:
    """Trace and compile one of the programs; return the seconds that it took, and what the compiler says."""
    start = time.perf_counter()
    try:
        said: Compiled | CannotBeCompiled = _programs[number].compile()
    except CannotBeCompiled as error:
        said = error
    return time.perf_counter() - start, said


def versions(backend: Backend) -> dict[str, str]:
    """The versions of a framework's packages."""
    return dict(backend.versions())
