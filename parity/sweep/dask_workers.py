"""Dask's workers: blocks are its tasks, and data travels to each worker once, under its digest."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, simplefilter

from parity.data import StandardizedData
from parity.errors import InputError
from parity.sweep.blocks import Block, Done, crashed
from parity.sweep.children import Children
from parity.sweep.grid import SweepConfig

PATIENCE = 30.0  # seconds that a scheduler, or a first worker, may take to answer
_here = Children()  # in a worker: its processes, of which none is started before it is needed


class DaskWorkers:
    """Trains wherever a scheduler's workers are, each block in a process that a thread of a worker has.

    A task is given up when as many workers have died of it as the scheduler allows
    (`distributed.scheduler.allowed-failures`, three); its trials are of status `error` then.
    """

    pools_seeds = False

    def __init__(self, client: Any, config: SweepConfig, data: StandardizedData, digest: str) -> None:
        self._client = client
        options = {"resources": {"GPU": 1}} if config.device == "gpu" else {}
        self._executor = client.get_executor(pure=False, **options)
        # A task, not scattered: when the workers that hold it have died, the scheduler has it made again.
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # that it is large
            self._data = client.submit(_same, data, key=f"bnparity-data-{digest}", pure=True)

    @property
    def width(self) -> int:
        """Twice the threads of all workers, so that none waits for the driver."""
        return max(2 * sum(self._client.nthreads().values()), 1)

    def expect(self, families: Any) -> None:
        """See `Executor.expect`: a worker compiles what it must."""

    def submit(self, block: Block, tick: Any) -> Future[Done]:
        """See `Executor.submit`."""
        done: Future[Done] = Future()
        task = self._executor.submit(train_in_worker, block, self._data)
        task.add_done_callback(lambda ended: _hand_over(ended, done, block))
        return done


def train_in_worker(block: Block, data: StandardizedData) -> Done:
    """What a worker does: its thread's own process trains the block."""
    return _here.train(block, data)


def _hand_over(ended: Any, done: Future[Done], block: Block) -> None:
    try:
        done.set_result(ended.result())
    except InputError as error:
        done.set_exception(error)
    except CancelledError:
        done.set_exception(
            InputError("Dask's scheduler is gone, and its workers with it; start it, and the same command goes on")
        )
    except Exception as error:  # a worker died of it, or has no bnparity
        done.set_result(crashed(block, f"{type(error).__name__}: {error}"))


def _same(data: StandardizedData) -> StandardizedData:
    return data


@contextmanager
def open_dask(
    address: str, workers: int, gpus: Sequence[str], config: SweepConfig, data: StandardizedData, digest: str
) -> Iterator[DaskWorkers]:
    """Connect to a scheduler, or start one with workers on this machine.

    Raises:
        InputError: Dask is not installed, nobody answers, or there is no worker that can train.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("--executor dask needs Dask; install it with: pip install 'bnparity[dask]'") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is to be known is said in one line, here
    cluster = None if address else _local_cluster(LocalCluster, workers, gpus)
    try:
        try:
            client = Client(cluster or address, timeout=PATIENCE, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            words = " ".join(str(error).split())
            raise InputError(
                f"no Dask scheduler answers at {address!r} ({words}); start one with: dask scheduler"
            ) from None
        try:
            _wait_for_a_worker(client, config)
            yield DaskWorkers(client, config, data, digest)
        finally:
            client.close(timeout=PATIENCE)
    finally:
        if cluster is not None:
            cluster.close(timeout=PATIENCE)


def _local_cluster(make: Any, workers: int, gpus: Sequence[str]) -> Any:
    resources = {"resources": {"GPU": 1}} if gpus else {}
    if len(gpus) > 1:  # the workers of a local cluster share one environment
        raise InputError("a local Dask cluster has one GPU; start the workers yourself and name their --scheduler")
    with _deaf_to_ctrl_c():
        return make(
            n_workers=1 if gpus else workers, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address="127.0.0.1:0", silence_logs=50, **resources,
        )  # fmt: skip


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started meanwhile leaves a terminal's Ctrl-C, which goes to every process, to this one."""
    if threading.current_thread() is not threading.main_thread():  # no other may handle signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
