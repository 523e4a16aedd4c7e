"""Dask's workers: blocks are its tasks, and data travels to each worker once, under its digest."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from threading import Lock
from typing import Any
from warnings import catch_warnings, simplefilter

import dask.config
from distributed import Client, KilledWorker, Nanny, Scheduler, SpecCluster, WorkerPlugin, get_worker
from distributed.utils import sync

from parity.data import StandardizedData
from parity.errors import InputError
from parity.sweep.blocks import Block, Done, crashed
from parity.sweep.children import Children
from parity.sweep.grid import SweepConfig

PATIENCE = 30.0  # seconds that a scheduler, or a first worker, may take to answer
ANSWER = 5.0  # seconds that a scheduler may take to say what workers it has
GONE = "Dask's scheduler is gone, and its workers with it; start it, and the same command goes on"
DATA = "bnparity-data-"  # and the digest: the key of the task that gives the data
_adding = Lock()
_here = Children()  # in a worker: its processes, of which none is started before it is needed


class DaskWorkers:
    """Trains wherever a scheduler's workers are, each block in a process that a thread of a worker has.

    A block with which more workers have died than the scheduler allows (`distributed.scheduler.allowed-failures`,
    three) is tried again when no other such block is; if they die again, its trials are of status `error`.
    """

    pools_seeds = False

    def __init__(self, client: Any, config: SweepConfig, data: StandardizedData, digest: str) -> None:
        self._client, self._width = client, 1
        self._resources = {"GPU": 1} if config.device == "gpu" else None
        self._suspects = ThreadPoolExecutor(1)
        # A task, not scattered: when the workers that hold it have died, the scheduler has it made again.
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # that it is large
            self._data = client.submit(_same, data, key=f"{DATA}{digest}", pure=True)

    @property
    def width(self) -> int:
        """Twice the threads of all workers, so that none waits for the driver."""
        if (threads := self._threads()) is not None:  # or the scheduler is gone, as every task will tell
            self._width = max(2 * threads, 1)
        return self._width

    @property
    def trouble(self) -> str:
        """See `Executor.trouble`."""
        if (threads := self._threads()) is None:
            return "Dask's scheduler does not answer"
        return "" if threads else "Dask has no worker left; the sweep goes on when one joins"

    def _threads(self) -> int | None:
        """Of all workers; None if the scheduler does not tell."""
        with suppress(OSError):
            return sum(self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER).values())
        return None

    def expect(self, families: Any) -> None:
        """See `Executor.expect`: a worker compiles what it must."""

    def submit(self, block: Block, tick: Any) -> Future[Done]:
        """See `Executor.submit`."""
        done: Future[Done] = Future()
        self._begin(block).add_done_callback(lambda ended: self._hand_over(ended, block, done, self._suspect))
        return done

    def close(self) -> None:
        """Try nothing again."""
        self._suspects.shutdown(wait=False, cancel_futures=True)

    def _begin(self, block: Block) -> Future[Done]:
        """Not by Dask's own executor: its future never ends if the worker dies before its result has been fetched."""
        task = self._client.submit(train_in_worker, block, self._data, pure=False, resources=self._resources)
        return asyncio.run_coroutine_threadsafe(_outcome(task), self._client.loop.asyncio_loop)

    def _hand_over(
        self,
        ended: Any,
        block: Block,
        done: Future[Done],
        after_death: Callable[[Block, Future[Done], KilledWorker], None],
    ) -> None:
        try:
            done.set_result(ended.result())
        except InputError as error:
            done.set_exception(error)
        except CancelledError:
            done.set_exception(InputError(GONE))
        except KilledWorker as error:
            after_death(block, done, error)
        except Exception as error:  # a worker has no bnparity, say
            done.set_result(crashed(block, f"{type(error).__name__}: {error}"))

    def _suspect(self, block: Block, done: Future[Done], death: KilledWorker) -> None:
        """Workers died, of this block or of one that was beside it: it is tried again, one suspect after the other."""
        with suppress(RuntimeError):  # nothing is tried any more
            self._suspects.submit(self._try_again, block, done)

    def _try_again(self, block: Block, done: Future[Done]) -> None:
        try:
            task = self._begin(block)
        except Exception:  # the client has no scheduler any more
            done.set_exception(InputError(GONE))
            return
        wait([task])
        self._hand_over(task, block, done, lambda block, done, death: done.set_result(crashed(block, str(death))))


async def _outcome(task: Any) -> Done:
    return await task


def train_in_worker(block: Block, data: StandardizedData) -> Done:
    """What a worker does: its thread's own process trains the block."""
    worker = get_worker()
    with _adding:
        if EndsWhatNobodyWants.name not in worker.plugins:
            sync(worker.loop, worker.plugin_add, EndsWhatNobodyWants())
    return _here.train(block, data, worker.get_current_task())


class EndsWhatNobodyWants(WorkerPlugin):
    """Ends a worker's process when its driver is gone, with whom its tasks and data go, or the worker itself ends."""

    name = "bnparity"

    def transition(self, key: Any, start: str, finish: str, **others: Any) -> None:
        """A task of the worker passes from one state to another."""
        if finish not in ("released", "forgotten"):
            return
        if start in ("executing", "long-running"):
            _here.give_up(key)
        elif start == "memory" and str(key).startswith(DATA):
            _here.let_go(str(key).removeprefix(DATA))

    def teardown(self, worker: Any) -> None:
        """The worker ends, which else waits for what it has begun."""
        _here.give_up_all()


def _same(data: StandardizedData) -> StandardizedData:
    return data


@contextmanager
def open_dask(
    address: str, workers: int, gpus: Sequence[str], config: SweepConfig, data: StandardizedData, digest: str
) -> Iterator[DaskWorkers]:
    """Connect to a scheduler, or start one with workers on this machine.

    Raises:
        InputError: nobody answers, no cluster can be started, or there is no worker that can train.
    """
    if address.startswith("tls:") and not dask.config.get("distributed.comm.tls.ca-file"):
        raise InputError(f"{address!r} needs certificates; name them in Dask's configuration, distributed.comm.tls")
    with _quiet(), ExitStack() as until:
        cluster = None
        if not address:
            with _undisturbed():
                cluster = _local_cluster(workers, gpus)
                until.callback(cluster.close, timeout=PATIENCE)
        try:
            client = Client(cluster or address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            words = " ".join(str(error).split())
            raise InputError(
                f"no Dask scheduler answers at {address!r} ({words}); start one with: dask scheduler"
            ) from None
        until.callback(client.close, timeout=PATIENCE)
        try:
            _wait_for_a_worker(client, config)
            executor = DaskWorkers(client, config, data, digest)
        except OSError:
            raise InputError(GONE) from None
        until.callback(executor.close)
        yield executor


def _local_cluster(workers: int, gpus: Sequence[str]) -> SpecCluster:
    quiet: Any = logging.CRITICAL  # declared as a bool
    here: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    nanny = here | {"nthreads": 1, "silence_logs": quiet}
    own: list[dict[str, Any]] = [
        {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}} if gpus else {}
        for number in range(workers)
    ]
    try:
        return SpecCluster(
            scheduler={"cls": Scheduler, "options": here},
            workers={number: {"cls": Nanny, "options": nanny | more} for number, more in enumerate(own)},
            silence_logs=quiet,
        )
    except (OSError, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise InputError(
            f"no Dask cluster of {workers} workers can be started here ({words}); use fewer --workers"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log says nothing: what is to be known is said in one line, here."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of it.

    What is started meanwhile, and what that will start, leaves a terminal's Ctrl-C, which goes to every process, to
    this one: it inherits that the signal is blocked. A thread of a framework may still get it, so it is noted too.
    """
    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return
    noted: list[int] = []
    resource_tracker.ensure_running()  # which would unblock the signal when it is started
    numbers = signal.SIGINT, signal.SIGTERM
    before = {number: signal.signal(number, lambda signum, frame: noted.append(signum)) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in noted:
            signal.raise_signal(number)


def _wait_for_a_worker(client: Any, config: SweepConfig) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"Dask's scheduler has no worker after {PATIENCE:g} s; start one with: dask worker ADDRESS"
        ) from None
    if config.device != "gpu":
        return
    have = [info.get("resources", {}).get("GPU", 0) for info in client.scheduler_info(n_workers=-1)["workers"].values()]
    if not any(have):
        raise InputError(
            "no Dask worker offers a GPU; start one for each, with: "
            f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '0')} dask worker ADDRESS --resources GPU=1"
        )
