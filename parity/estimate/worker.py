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
class Traced:
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


def begin(backend: Backend, chips: Chips, cases: Sequence[Case], samples: int) -> list[Traced] | str:
    """Trace the programs of networks; return them, or why there is no compiler."""
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
                found += [Traced(group, "float32", program) for program in own]
        for dtype in CHECKED:
            found += [Traced(group, dtype, program) for program in compiler.learner(case.spec, dtype, size)]
    return _kept(found)


def begin_port(port: Any, inputs: Mapping[str, Any], is_lifted: bool) -> bool:
    """Set a port up; return whether its model can be compiled for chips."""
    if not isinstance(port, Compilable):
        return False
    if is_lifted:
        port.lift()
    port.prepare(inputs)
    return True


def trace(
    port: Any, chips: Chips, inputs: Mapping[str, Any], size: int, task: Task, dtype: str, precision: Precision
) -> Traced:
    """Trace a task of a port's model."""
    program = port.compile_for(chips, inputs, size, task, dtype, precision)
    (traced,) = _kept([Traced(f"batches of {size} in {dtype}", dtype, program)])
    return traced


def _kept(found: Sequence[Traced]) -> list[Traced]:
    _programs[:] = [traced.program for traced in found]
    return [replace(traced, program=replace(traced.program, compile=None)) for traced in found]


def compile_program(subject: Any, number: int) -> tuple[float, Compiled | CannotBeCompiled]:
    """Compile one of the programs; return the seconds that it took, and what the compiler says."""
    start = time.perf_counter()
    try:
        said: Compiled | CannotBeCompiled = _programs[number].compile()
    except CannotBeCompiled as error:
        said = error
    return time.perf_counter() - start, said


def versions(backend: Backend) -> dict[str, str]:
    """The versions of a framework's packages."""
    return dict(backend.versions())
