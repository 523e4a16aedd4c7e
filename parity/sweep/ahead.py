"""Compiling ahead: while a family of a sweep trains, what the next ones will run is compiled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from parity.backend import Backend
from parity.data import StandardizedData
from parity.machine import usable_cores
from parity.sweep.grid import Group, SweepConfig
from parity.sweep.train import padded, working_dtype

Family = Sequence[Group]


@contextmanager
def compiling_ahead(
    config: SweepConfig, backends: Mapping[str, Backend], data: StandardizedData, families: Iterable[Family]
) -> Iterator[Any]:
    """Compile in threads, on all cores but one, what families will run, in their order.

    Args:
        config: the sweep.
        backends: by name; those that have no `compile_ahead` compile when they must.
        data: that is trained on.
        families: that will be trained.

    Yields:
        A function that waits until what a family needs is compiled. What fails here fails again where it is needed, and
        is told there.
    """
    pool = ThreadPoolExecutor(max(1, usable_cores() - 1))
    compiled: dict[Family, Future[None]] = {
        family: pool.submit(_compile, backends[family[0].framework], config, family, data)
        for family in families
        if hasattr(backends[family[0].framework], "compile_ahead")
    }
    try:
        yield lambda family: wait([compiled[family]] if family in compiled else [])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _compile(backend: Any, config: SweepConfig, family: Family, data: StandardizedData) -> None:
    lanes = padded(backend, config, config.most_lanes)
    backend.compile_ahead(
        config.model_spec(family[0]),
        lanes * config.population_size,
        lanes,
        data.train_inputs,
        data.train_labels,
        working_dtype(backend, config),
        config.batch_size,
        (len(data.train_labels), len(data.test_labels)),
    )
