"""Compiling ahead: while a family of a sweep trains, what the next ones will run is compiled."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from parity.backend import Backend
from parity.data import StandardizedData
from parity.machine import usable_cores
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lanes import pad_lanes, working_dtype
from parity.sweep.memory import fitting

Family = Sequence[Group]
MOST_AT_ONCE = 8  # programs; each takes memory to compile


@contextmanager
def compiling_ahead(
    config: SweepConfig, backends: Mapping[str, Backend], data: StandardizedData, families: Iterable[Family]
) -> Iterator[Callable[[Family], Any]]:
    """Compile what families will run, in their order, on all cores but one.

    Programs are traced in one thread, since that is work of the interpreter, and compiled in others. When the context
    ends, what has not begun is left.

    Args:
        config: the sweep.
        backends: by name; those that have no `lower_ahead` compile when they must.
        data: that is trained on.
        families: that will be trained.

    Yields:
        A function that waits until what a family needs is compiled. What fails here fails again where it is needed, and
        is told there.
    """
    tracer, compilers = ThreadPoolExecutor(1), ThreadPoolExecutor(max(1, min(usable_cores() - 1, MOST_AT_ONCE)))

    def trace(family: Family) -> list[Future[Any]]:
        return [compilers.submit(program) for program in _lower(backends[family[0].framework], config, family, data)]

    traced = {
        family: tracer.submit(trace, family)
        for family in families
        if hasattr(backends[family[0].framework], "lower_ahead")
    }

    def wait_for(family: Family) -> None:
        if family in traced:
            tracing = traced.pop(family)
            wait([tracing])
            wait([] if tracing.exception() else tracing.result())

    try:
        yield wait_for
    finally:
        for pool in (tracer, compilers):
            pool.shutdown(wait=False, cancel_futures=True)


def _lower(backend: Any, config: SweepConfig, family: Family, data: StandardizedData) -> list[Callable[[], Any]]:
    first = next(iter(fitting(backend, config, family, len(data.train_labels))))
    lanes = pad_lanes(backend, config, len(first))
    return backend.lower_ahead(
        config.model_spec(family[0]),
        members=lanes * config.population_size,
        lanes=lanes,
        samples=len(data.train_labels),
        dtype=working_dtype(backend, config),
        batch_size=config.batch_size,
        evaluated=(len(data.train_labels), len(data.test_labels)),
    )
