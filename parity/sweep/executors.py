"""Where blocks are trained: in this process, in processes of this machine, or by Dask's workers on many.

All have one small interface, shaped like that of `concurrent.futures`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, get_args

from parity.backend import Backend
from parity.data import StandardizedData
from parity.errors import InputError
from parity.machine import usable_cores
from parity.spec import check_count, check_real
from parity.sweep.ahead import compiling_ahead, lower_family
from parity.sweep.blocks import Block, Done, train_block
from parity.sweep.children import Children, visible_gpus
from parity.sweep.grid import Group, SweepConfig

Kind = Literal["in-process", "processes", "dask"]
Tick = Callable[[float], None]
MOST_WORKERS = 1024


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a sweep is run. Its numbers do not depend on it.

    Args:
        executor: "in-process", "processes" on this machine, or "dask".
        workers: processes, or workers of a Dask cluster on this machine; 0 for one per core, or per GPU.
        scheduler: address of a Dask scheduler, such as "tcp://10.0.0.1:8786"; "" for a cluster on this machine.
        time_limit: seconds that a block may take before its process is ended; None for no limit.

    Raises:
        InputError: a field breaks its rule.
    """

    executor: Kind = "in-process"
    workers: int = 0
    scheduler: str = ""
    time_limit: float | None = None

    def __post_init__(self) -> None:
        if self.executor not in get_args(Kind):
            raise InputError(f"executor must be one of {', '.join(get_args(Kind))}, got {self.executor!r}")
        check_count("workers", self.workers, 0, "0 is one for each core", MOST_WORKERS)
        if self.scheduler and self.executor != "dask":
            raise InputError(f"a scheduler is Dask's: use it with --executor dask, not {self.executor}")
        if self.scheduler:
            _check_address(self.scheduler)
        if self.scheduler and self.workers:
            raise InputError("workers are those that the scheduler has; leave out --workers, or --scheduler")
        if self.time_limit is not None:
            check_real("time_limit", self.time_limit, above=0, why="a block needs time")
        if self.executor == "in-process" and (self.time_limit is not None or self.workers):
            option = "--workers" if self.workers else "--time-limit"
            raise InputError(f"{option} needs processes that can be ended: use --executor processes")


def _check_address(address: str) -> None:
    """Refuse what Dask would first wait for."""
    found = re.fullmatch(r"(?:(?:tcp|tls)://)?(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address)
    host, port = found.groups() if found else ("", "0")
    with suppress(UnicodeError):
        if found and host.encode("idna") and 0 < int(port) < 2**16:
            return
    raise InputError(
        f"a scheduler must be an address and a port, such as tcp://10.0.0.1:8786, got {address!r}; "
        "`dask scheduler` says its own"
    )


class Executor(Protocol):
    """Takes blocks, and gives futures of what becomes of them."""

    @property
    def pools_seeds(self) -> bool:
        """Whether groups that differ in their seeds only are best trained as one block."""
        ...

    @property
    def width(self) -> int:
        """How many blocks are worth having under way."""
        ...

    @property
    def trouble(self) -> str:
        """Why nothing is trained at present, for people; "" where something is."""
        ...

    def expect(self, families: Sequence[Sequence[Group]]) -> None:
        """These groups will come, in this order."""
        ...

    def submit(self, block: Block, tick: Tick) -> Future[Done]:
        """Begin a block; `tick` may be called with the share that is done."""
        ...


class InProcess:
    """Trains in this process, at once: the future that it gives is done."""

    pools_seeds, width, trouble = True, 1, ""

    def __init__(
        self, config: SweepConfig, backends: Mapping[str, Backend], data: StandardizedData, until: ExitStack
    ) -> None:
        self._config, self._backends, self._data, self._until = config, backends, data, until
        self._first: dict[Group, Group] = {}
        self._wait_for: Callable[[Group], None] = lambda group: None

    def expect(self, families: Sequence[Sequence[Group]]) -> None:
        """See `Executor.expect`: what they run is compiled ahead."""
        lowerings: dict[Any, Any] = {
            family[0]: partial(lower_family, self._backends[family[0].framework], self._config, family, self._data)
            for family in families
        }
        self._first = {group: family[0] for family in families for group in family}
        self._wait_for = self._until.enter_context(compiling_ahead(lowerings))

    def submit(self, block: Block, tick: Tick) -> Future[Done]:
        """See `Executor.submit`."""
        group = next(iter(block.wanted))
        self._wait_for(self._first.get(group, group))
        future: Future[Done] = Future()
        try:
            future.set_result(train_block(self._backends[block.framework], block, self._data, tick))
        except InputError as error:
            future.set_exception(error)
        return future


class LocalProcesses:
    """Trains in processes of this machine, each block in one of them."""

    pools_seeds, trouble = False, ""

    def __init__(self, workers: int, children: Children, data: StandardizedData) -> None:
        self.width = workers
        self._pool, self._children, self._data = ThreadPoolExecutor(workers), children, data

    def expect(self, families: Sequence[Sequence[Group]]) -> None:
        """See `Executor.expect`: a process compiles what it must."""

    def submit(self, block: Block, tick: Tick) -> Future[Done]:
        """See `Executor.submit`."""
        return self._pool.submit(self._children.train, block, self._data)

    def close(self) -> None:
        """End what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._children.kill()
        self._pool.shutdown()  # its threads are ending by now
        self._children.close()


@contextmanager
def open_executor(
    execution: Execution,
    config: SweepConfig,
    backends: Mapping[str, Backend],
    data: StandardizedData,
    digest: str,
) -> Iterator[Executor]:
    """Start an executor, and end it afterwards together with what it has started.

    Args:
        execution: which one.
        config: of the sweep.
        backends: by name.
        data: that is trained on.
        digest: of the data.

    Raises:
        InputError: it cannot be started.
    """
    if execution.executor == "in-process":
        with ExitStack() as until:
            yield InProcess(config, backends, data, until)
        return
    gpus = _gpus(backends.values())
    workers = _workers(execution, gpus)
    if execution.executor == "dask":
        try:
            from parity.sweep.dask_workers import open_dask  # Dask is an extra, and slow to import
        except ImportError:
            raise InputError("--executor dask needs Dask; install it with: pip install 'bnparity[dask]'") from None
        with open_dask(execution.scheduler, workers, gpus, config, data, digest) as executor:
            yield executor
        return
    local = LocalProcesses(workers, Children(max(1, usable_cores() // workers), gpus), data)
    try:
        yield local
    finally:
        local.close()


def workers_here(execution: Execution, backend: Backend) -> int:
    """How many blocks share this machine's memory, or that of a GPU of it; 0 where they are trained elsewhere."""
    if execution.executor == "in-process":
        return 1
    gpus = _gpus([backend])
    return 0 if execution.scheduler else -(-_workers(execution, gpus) // max(len(gpus), 1))


def _gpus(backends: Iterable[Backend]) -> tuple[str, ...]:
    return visible_gpus() if any(backend.accelerator for backend in backends) else ()


def _workers(execution: Execution, gpus: Sequence[str]) -> int:
    return execution.workers or len(gpus) or usable_cores()
