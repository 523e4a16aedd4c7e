"""Compiling ahead: while a family of a sweep trains, what the next ones will run is compiled."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from parity.backend import Backend
from parity.data import StandardizedData
from parity.machine import usable_cores
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lanes import BOTH, EvaluatedOn, pad_lanes, samples_of, working_dtype
from parity.sweep.memory import fitting

Family = Sequence[Group]
Job = tuple[SweepConfig, Family]
MOST_AT_ONCE = 8  # programs; each takes memory to compile


@contextmanager
def compiling_ahead(
    jobs: Iterable[Job], backends: Mapping[str, Backend], data: StandardizedData, evaluated_on: EvaluatedOn = BOTH
) -> Iterator[Callable[[SweepConfig, Family], None]]:
    """Compile what families will run, in their order, on all cores but one.

    Programs are traced in one thread, since that is work of the interpreter, and compiled in others. When the context
    ends, what has not begun is left.

    Args:
        jobs: families that will be trained, each with the sweep that it belongs to.
        backends: by name; those that have no `lower_ahead` compile when they must.
        data: that is trained on.
        evaluated_on: the sets on which it is evaluated.

    Yields:
        A function that waits until what a family of a sweep needs is compiled. What fails here fails again where it is
        needed, and is told there.
    """
    tracer, compilers = ThreadPoolExecutor(1), ThreadPoolExecutor(max(1, min(usable_cores() - 1, MOST_AT_ONCE)))

    def trace(config: SweepConfig, family: Family) -> list[Future[Any]]:
        backend = backends[family[0].framework]
        return [compilers.submit(program) for program in _lower(backend, config, family, data, evaluated_on)]

    traced = {job: tracer.submit(trace, *job) for job in jobs if hasattr(backends[job[1][0].framework], "lower_ahead")}

    def wait_for(*job: Any) -> None:
        if job in traced:
            tracing = traced.pop(job)
            wait([tracing])
            wait([] if tracing.exception() else tracing.result())

    try:
        yield wait_for
    finally:
        for pool in (tracer, compilers):
            pool.shutdown(wait=False, cancel_futures=True)


def _lower(
    backend: Any, config: SweepConfig, family: Family, data: StandardizedData, evaluated_on: EvaluatedOn
) -> list[Callable[[], Any]]:
    first = next(iter(fitting(backend, config, family, len(data.train_labels))))
    lanes = pad_lanes(backend, config, len(first))
    return backend.lower_ahead(
        config.model_spec(family[0]),
        members=lanes * config.population_size,
        lanes=lanes,
        samples=len(data.train_labels),
        dtype=working_dtype(backend, config),
        batch_size=config.batch_size,
        evaluated=tuple(len(samples_of(data, name)[1]) for name in evaluated_on),
    )
