"""Compiling ahead: while one thing trains, what the next ones will run is compiled."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from parity.data import StandardizedData
from parity.machine import usable_cores
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.lanes import BOTH, EvaluatedOn, pad_lanes, samples_of, working_dtype
from parity.sweep.memory import fitting

Lowering = Callable[[], Sequence[Callable[[], Any]]]
"""Traces programs; each of those that it gives is compiled by a call."""

MOST_AT_ONCE = 8  # programs; each takes memory to compile


def compilers_at_once() -> int:
    """How many programs are compiled at a time: on all cores but one."""
    return max(1, min(usable_cores() - 1, MOST_AT_ONCE))


@contextmanager
def compiling_ahead(lowerings: Mapping[Any, Lowering]) -> Iterator[Callable[[Hashable], None]]:
    """Compile what will be run, in its order, on all cores but one.

    Programs are traced in one thread, since that is work of the interpreter, and compiled in others. When the context
    ends, what has not begun is left.

    Args:
        lowerings: by any key.

    Yields:
        A function that waits until the program of a key is compiled. It returns at once for an unknown key.
        A failure here is ignored: it occurs again where the program is needed, and is reported there.
    """
    tracer, compilers = ThreadPoolExecutor(1), ThreadPoolExecutor(compilers_at_once())

    def trace(lowering: Lowering) -> list[Future[Any]]:
        return [compilers.submit(program) for program in lowering()]

    traced = {key: tracer.submit(trace, lowering) for key, lowering in lowerings.items()}

    def wait_for(key: Hashable) -> None:
        if key in traced:
            tracing = traced.pop(key)
            wait([tracing])
            wait([] if tracing.exception() else tracing.result())

    try:
        yield wait_for
    finally:
        for pool in (tracer, compilers):
            pool.shutdown(wait=False, cancel_futures=True)


def lower_family(
    backend: Any, config: SweepConfig, family: Sequence[Group], data: StandardizedData, evaluated_on: EvaluatedOn = BOTH
) -> Sequence[Callable[[], Any]]:
    """Trace what `train` runs for a family of a sweep; nothing, where the backend compiles when it must.

    Args:
        backend: trains it.
        config: the sweep.
        family: groups that differ in their seeds only.
        data: that is trained on.
        evaluated_on: the sets on which it is evaluated.
    """
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
