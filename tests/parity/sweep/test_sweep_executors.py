"""The same rows wherever a sweep is trained, whatever dies on the way."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import pytest
from fake_backend import small_config

import parity
from parity import InputError
from parity.backend import load_backend
from parity.data import StandardizedData
from parity.process import ProcessSide
from parity.progress import SilentProgress
from parity.sweep import Execution, LearningRates, SweepConfig, SweepInterrupted
from parity.sweep.blocks import Block, train_block, what_decides
from parity.sweep.children import Children, visible_gpus
from parity.sweep.identity import common_versions
from parity.sweep.prepare import prepare

# `parity.sweep` is the function
dask_workers, children_module, executors = (
    import_module(f"parity.sweep.{name}") for name in ("dask_workers", "children", "executors")
)

TABLES = ("trials.csv", "thresholds.csv")
RATES = LearningRates(0.01, 100, 3)


def config(framework: str, **changes: Any) -> SweepConfig:
    return small_config(**({"frameworks": (framework,), "learning_rates": RATES, "num_passes": 1} | changes))


def tables(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in TABLES]


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "execution",
    [
        Execution(executor="processes", workers=2),
        Execution(executor="processes", workers=1),
        Execution(executor="dask", workers=2),
    ],
    ids=["two processes", "one process", "dask"],
)
def test_the_rows_are_the_same_bit_for_bit(
    framework: Any, swept_here: Callable[[str], Path], tmp_path: Path, execution: Execution
) -> None:
    here = swept_here(framework.name)
    parity.sweep(eight_groups(framework.name), out=tmp_path, command="c", execution=execution)
    assert len(rows(here)) > 8 * RATES.count
    assert tables(here) == tables(tmp_path)


@pytest.fixture(scope="module")
def swept_here(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder of `eight_groups` of a framework, swept in this process once."""

    @cache
    def sweep_here(framework: str) -> Path:
        folder = tmp_path_factory.mktemp("here")
        parity.sweep(eight_groups(framework), out=folder, command="c")
        return folder

    return sweep_here


def eight_groups(framework: str) -> SweepConfig:
    return config(framework, depths=(1, 3), batch_norm=(False, True), num_seeds=2)


def test_order_and_neighbours_change_no_row(framework: Any, tmp_path: Path) -> None:
    """Depths and seeds in another order, and a grid that grew: the rows of a sweep that was asked for at once."""
    changes: dict[str, Any] = {"batch_norm": (True,), "population_size": 4}
    whole = config(framework.name, depths=(1, 2), num_seeds=2, learning_rates=LearningRates(0.01, 100, 9), **changes)
    parity.sweep(whole, out=tmp_path / "whole")
    parity.sweep(config(framework.name, depths=(2,), **changes), out=tmp_path / "grown")
    for more in (
        config(framework.name, depths=(1,), learning_rates=LearningRates(0.01, 100, 5), **changes),
        config(framework.name, depths=(1,), num_seeds=2, learning_rates=LearningRates(0.01, 100, 9), **changes),
    ):
        parity.sweep(more, out=tmp_path / "grown", extend=True)
    assert tables(tmp_path / "whole") == tables(tmp_path / "grown")


def test_on_an_accelerator_what_is_trained_together_is_part_of_the_sweep(
    framework: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the executor, a family is trained whole there, and a grid that would make it larger is another sweep."""
    kind = type(framework)
    monkeypatch.setattr(kind, "accelerator", "Abacus 3000", raising=False)
    monkeypatch.setattr(import_module("parity.sweep.driver"), "what_decides", lambda backend: {})  # children have none
    sent: list[int] = []
    submit = executors.LocalProcesses.submit

    def watched(self: Any, block: Block, tick: Any) -> Any:
        sent.append(len(block.wanted))
        return submit(self, block, tick)

    monkeypatch.setattr(executors.LocalProcesses, "submit", watched)
    sweep = config(framework.name, num_seeds=2, batch_norm=(True,))
    parity.sweep(sweep, out=tmp_path / "here", command="c")
    parity.sweep(sweep, out=tmp_path / "there", command="c", execution=Execution(executor="processes", workers=2))
    assert sent[0] == 2
    assert tables(tmp_path / "here") == tables(tmp_path / "there")
    larger = config(framework.name, num_seeds=3, batch_norm=(True,))
    with pytest.raises(InputError, match=r"members together is .* there, .* here"):
        parity.sweep(larger, out=tmp_path / "here", extend=True)
    monkeypatch.setattr(kind, "accelerator", "Abacus 4000", raising=False)
    with pytest.raises(InputError, match=r'accelerator is "Abacus 3000" there, "Abacus 4000" here'):
        parity.sweep(sweep, out=tmp_path / "here")


# processes


class Killing(SilentProgress):
    """Kills what this process has started since, at the updates of these numbers."""

    def __init__(self, *at: int) -> None:
        self.at, self.seen, self.before = set(at), 0, children()

    def update(self, share: float, description: str) -> None:
        self.seen += 1
        if self.seen in self.at:
            for pid in children() - self.before:
                os.kill(pid, signal.SIGKILL)


def children(of: int | None = None) -> set[int]:
    found = Path(f"/proc/{of or os.getpid()}/task").glob("*/children")
    return {int(pid) for path in found for pid in path.read_text().split()}


def test_a_block_whose_process_is_killed_is_trained_in_another(tmp_path: Path) -> None:
    sweep = config("torch", depths=(1, 2, 3))
    parity.sweep(sweep, out=tmp_path / "here")
    killing = Killing(3, 4)
    parity.sweep(sweep, out=tmp_path / "there", execution=Execution(executor="processes", workers=1), progress=killing)
    assert killing.seen > 4
    assert tables(tmp_path / "here") == tables(tmp_path / "there")


def test_a_process_that_always_dies_is_an_error_row_and_the_rest_go_on(tmp_path: Path) -> None:
    sweep = config("strange", depths=(1, 2))
    with strange(tmp_path, "dies"):
        report = parity.sweep(sweep, out=tmp_path / "out", execution=Execution(executor="processes", workers=2))
    assert report.has_errors
    found = {row["depth"]: (row["status"], row["message"]) for row in rows(tmp_path / "out")}
    assert found["1"][0] == "error"
    assert "the process that trained it was ended by SIGKILL" in found["1"][1]
    assert found["2"][0] != "error"


@pytest.mark.timeout(120)
def test_a_hung_block_is_ended_by_its_time_limit(tmp_path: Path) -> None:
    execution = Execution(executor="processes", workers=1, time_limit=5.0)
    with strange(tmp_path, "hangs"):
        report = parity.sweep(config("strange", depths=(1, 2)), out=tmp_path / "out", execution=execution)
    assert report.has_errors
    found = {row["depth"]: (row["status"], row["message"]) for row in rows(tmp_path / "out")}
    assert "no answer within the time limit of 5 s" in found["1"][1]
    assert found["2"][0] != "error"


def test_a_process_that_dies_at_its_start_is_started_again_and_then_an_error_row(tmp_path: Path) -> None:
    execution = Execution(executor="processes", workers=1)
    with strange(tmp_path, "dies at its start"):
        report = parity.sweep(config("strange"), out=tmp_path / "out", execution=execution)
    assert report.has_errors
    (message,) = {row["message"] for row in rows(tmp_path / "out")}
    assert "strange cannot be started: it was ended by SIGKILL" in message
    assert len((tmp_path / "site" / "starts").read_text()) == 3


@pytest.mark.timeout(120)
def test_a_process_that_hangs_at_its_start_is_ended_by_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "START_PATIENCE", 3.0)
    execution, before = Execution(executor="processes", workers=1, time_limit=1.0), children()
    with strange(tmp_path, "hangs at its start"):
        report = parity.sweep(config("strange"), out=tmp_path / "out", execution=execution)
    assert report.has_errors
    (message,) = {row["message"] for row in rows(tmp_path / "out")}
    assert "strange cannot be started: it gave no answer within the time limit of 3 s, and was ended" in message
    assert children() <= before


@pytest.mark.timeout(120)
def test_ctrl_c_does_not_wait_for_a_process_that_is_starting(tmp_path: Path, heeds_interrupts: None) -> None:
    del heeds_interrupts
    before = children()

    def interrupt() -> None:
        wait_until(lambda: children() - before)
        os.kill(os.getpid(), signal.SIGINT)

    with strange(tmp_path, "hangs at its start"), ThreadPoolExecutor(1) as beside:
        beside.submit(interrupt)
        with pytest.raises(SweepInterrupted):
            parity.sweep(config("strange"), execution=Execution(executor="processes", workers=1))
    assert children() <= before


@contextmanager
def strange(folder: Path, what: str) -> Iterator[None]:
    """A backend of the name "strange", here and in every process that is started: depth 1 misbehaves."""
    site = folder / "site"
    package = site / "strange_backend-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-backend\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[parity.backends]\nstrange = strange_backend:Strange\n")
    start = {
        "dies at its start": f"open({str(site / 'starts')!r}, 'a').write('.'); os.kill(os.getpid(), signal.SIGKILL)",
        "hangs at its start": "time.sleep(600)",
    }.get(what, "pass")
    train = {
        "dies": "os.kill(os.getpid(), signal.SIGKILL)",
        "takes its worker along": "os.kill(os.getppid(), signal.SIGKILL)",
        "hangs": f"open({str(site / 'trains')!r}, 'w').close(); time.sleep(600)",
    }.get(what, "pass")
    (site / "strange_backend.py").write_text(f"""
import os, signal, time
if os.getpid() != {os.getpid()}: {start}
from parity.reference import NumpyBackend

class Strange(NumpyBackend):
    def population(self, spec, *arguments, **named):
        if spec.num_hidden_layers == 1:
            {train}
        return super().population(spec, *arguments, **named)
""")
    sys.path.insert(0, str(site))
    try:
        yield
    finally:
        sys.path.remove(str(site))


def test_ctrl_c_ends_the_processes_and_the_sweep_goes_on(tmp_path: Path) -> None:
    class Interrupting(SilentProgress):
        def update(self, share: float, description: str) -> None:
            if "depth 2" in description:
                raise KeyboardInterrupt

    sweep, execution, before = config("numpy", depths=(1, 2)), Execution(executor="processes", workers=1), children()
    with pytest.raises(SweepInterrupted):
        parity.sweep(sweep, out=tmp_path / "out", execution=execution, progress=Interrupting())
    assert {row["depth"] for row in rows(tmp_path / "out")} == {"1"}
    wait_until(lambda: children() <= before)
    parity.sweep(sweep, out=tmp_path / "out", execution=execution)
    parity.sweep(sweep, out=tmp_path / "here")
    assert tables(tmp_path / "here") == tables(tmp_path / "out")


def wait_until(happened: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return found


def test_data_is_sent_to_a_process_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    call = ProcessSide.call

    def watched(self: ProcessSide, task: Callable[..., Any], *arguments: Any) -> Any:
        sent.append(task.__name__)
        return call(self, task, *arguments)

    monkeypatch.setattr(ProcessSide, "call", watched)
    parity.sweep(config("numpy", depths=(1, 2, 3)), execution=Execution(executor="processes", workers=1))
    assert sent.count("_hold") == 1
    assert sent.count("_train") >= 3


def test_a_worker_of_another_version_is_one_line(small_data: StandardizedData) -> None:
    sweep = config("numpy")
    versions = common_versions() | {"numpy": "0.1"}
    block = Block(sweep, {sweep.groups()[0]: (0.1,)}, "digest", versions)
    own = Children()
    try:
        with pytest.raises(
            InputError, match=r"a worker has numpy .* where the sweep has 0.1; .* have the same everywhere"
        ):
            own.train(block, small_data)
    finally:
        own.kill()
        own.close()


def test_a_worker_with_another_gpu_is_one_line(small_data: StandardizedData) -> None:
    sweep, backend = config("numpy"), load_backend("numpy")
    driver, worker = (SimpleNamespace(versions=backend.versions, accelerator=kind) for kind in ("A", ""))
    block = Block(sweep, {sweep.groups()[0]: (0.1,)}, "digest", what_decides(driver))
    with pytest.raises(InputError, match="a worker has accelerator None where the sweep has A; numbers depend on it"):
        train_block(worker, block, small_data)


def test_no_process_is_started_for_what_nobody_wants(
    small_data: StandardizedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, own, started = config("numpy"), Children(), list[Any]()
    monkeypatch.setattr(children_module, "start_process", started.append)
    block = Block(sweep, {sweep.groups()[0]: (0.1,)}, "digest", {})
    own.kill()
    (trial,) = own.train(block, small_data).trained[sweep.groups()[0]].values()
    assert (trial.status, trial.message) == ("error", "nobody wants it any more")
    assert not started


def test_processes_that_cannot_be_started_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*arguments: Any) -> None:
        raise OSError(24, "Too many open files")

    parity.sweep(config("numpy"), out=tmp_path)
    monkeypatch.setattr(children_module, "start_process", none_left)
    with pytest.raises(InputError, match="no process can be started: Too many open files; use fewer --workers"):
        parity.sweep(
            config("numpy", depths=(1, 2)), out=tmp_path, extend=True, execution=Execution(executor="processes")
        )
    assert {row["depth"] for row in rows(tmp_path)} == {"1"}


def test_threads_share_out_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = Children(cores=2, gpus=("3", "GPU-5"))
    own._threads[:] = [10, 11, 12]
    settings = [dict(own._spec((thread, "jax", "gpu"), None).settings) for thread in own._threads]
    assert [found["CUDA_VISIBLE_DEVICES"] for found in settings] == ["3", "GPU-5", "3"]
    assert {found["BNPARITY_CORES"] for found in settings} == {"2"}
    for number in range(2):
        (tmp_path / f"000{number}").mkdir()
    monkeypatch.setattr(children_module, "DRIVER", tmp_path)
    for told, expected in (("0,GPU-2", ("0", "GPU-2")), ("", ()), ("-1", ()), (None, ("0", "1"))):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if told is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
        assert visible_gpus() == expected


# Dask


@pytest.mark.timeout(120)
def test_another_share_of_the_data_is_other_data(tmp_path: Path) -> None:
    """Though a worker still holds that of another sweep."""
    with cluster(tmp_path, workers=1) as (address, _):
        execution = Execution(executor="dask", scheduler=address)
        with dask_workers.open_dask(address, 1, (), *_prepared(0.05)):
            report = parity.sweep(config("numpy", fraction=0.1), execution=execution)
    assert report.trials == parity.sweep(config("numpy", fraction=0.1)).trials


def _prepared(fraction: float) -> tuple[Any, Any, str]:
    prepared = prepare(config("numpy", fraction=fraction))
    return prepared.config, prepared.data, prepared.digest


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A real scheduler and real workers on loopback, as a user starts them."""
    address, started = folder / "scheduler.json", list[subprocess.Popen[bytes]]()
    try:
        options = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(address)]
        started.append(start_dask("scheduler", *options))
        wait_until(lambda: address.exists() and address.read_text().endswith("}"))  # it is written in place
        started.extend(start_worker(folder) for _ in range(workers))
        yield json.loads(address.read_text())["address"], started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def start_worker(folder: Path, nanny: str = "--no-nanny") -> "subprocess.Popen[bytes]":
    file = str(folder / "scheduler.json")
    return start_dask("worker", "--nthreads", "1", nanny, "--scheduler-file", file, "--local-directory", str(folder))


def start_dask(what: str, *options: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{what}", *options, "--no-dashboard"],
        env=os.environ | {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.timeout(300)
def test_a_dask_worker_that_is_killed_loses_and_repeats_nothing(framework: Any, tmp_path: Path) -> None:
    """A real scheduler, two real workers, one of them killed while it trains."""
    sweep = config(framework.name, depths=(1, 2, 3), batch_norm=(False, True), num_seeds=2)
    here = parity.sweep(sweep, out=tmp_path / "here")

    with cluster(tmp_path) as (address, workers):
        from distributed import Client

        class KillingOne(SilentProgress):
            """Once both are at work and one has had a block, the first is gone."""

            killed = False

            def update(self, share: float, description: str) -> None:
                if not self.killed and share > 0.2:
                    connect: Any = Client
                    with connect(address, set_as_default=False) as client:
                        busy = wait_until(lambda: [a for a, tasks in client.processing().items() if tasks])
                        pids = client.run(os.getpid, workers=busy[:1])
                    self.killed = True
                    os.kill(next(iter(pids.values())), signal.SIGKILL)

        killing = KillingOne()
        parity.sweep(
            sweep, out=tmp_path / "there", execution=Execution(executor="dask", scheduler=address), progress=killing
        )
        assert killing.killed
        assert sorted(worker.poll() is None for worker in workers) == [False, True]
    found = [tuple(row[name] for name in list(row)[:5]) for row in rows(tmp_path / "there")]
    assert len(found) == len(set(found)) == len(here.trials)
    assert tables(tmp_path / "here") == tables(tmp_path / "there")


@pytest.mark.timeout(200)
def test_a_block_of_which_workers_die_is_an_error_row_and_its_neighbours_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker, which is started again: the scheduler blames its deaths on what waits there, too."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    with strange(tmp_path, "takes its worker along"):
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        with cluster(tmp_path, workers=0) as (address, started):
            started.append(start_worker(tmp_path, "--nanny"))
            execution = Execution(executor="dask", scheduler=address)
            report = parity.sweep(config("strange", depths=(1, 2)), out=tmp_path / "out", execution=execution)
            started[0].terminate()  # takes along what it has started
            started[0].wait()
    assert report.has_errors
    found = {row["depth"]: (row["status"], row["message"]) for row in rows(tmp_path / "out")}
    assert found["1"][0] == "error"
    assert "all those workers died while running it" in found["1"][1]
    assert found["2"][0] != "error"


@pytest.mark.timeout(120)
def test_a_worker_that_dies_before_its_result_is_fetched_loses_no_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver then learns of the death while it fetches, not while it waits."""
    fetch, deaths = distributed.Client._gather, []

    async def dying(self: Any, futures: Any, *options: Any, **named: Any) -> Any:
        key = str(futures[0].key)
        if key.startswith("train_in_worker") and not deaths:
            deaths.append(key)
            worker: Any = SimpleNamespace(address="tcp://gone:1")
            raise distributed.KilledWorker(key, worker, 0)
        return await fetch(self, futures, *options, **named)

    monkeypatch.setattr(distributed.Client, "_gather", dying)
    sweep = config("numpy", depths=(1, 2))
    parity.sweep(sweep, out=tmp_path / "here", command="c")
    parity.sweep(sweep, out=tmp_path / "there", command="c", execution=Execution(executor="dask", workers=1))
    assert deaths
    assert tables(tmp_path / "here") == tables(tmp_path / "there")


@pytest.mark.timeout(120)
def test_workers_end_their_processes_when_the_driver_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs, because its driver was killed; one with nothing to do, because its sweep is done."""
    sweep = config("strange", depths=(2,))
    with strange(tmp_path, "hangs"):
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        with cluster(tmp_path, workers=1) as (address, (worker,)):
            command = [sys.executable, "-m", "parity", "sweep", "--framework", "strange", "--dataset", "synthetic"]
            command += [
                "--depths",
                "1",
                "--executor",
                "dask",
                "--scheduler",
                address,
                "--out",
                str(tmp_path / "killed"),
            ]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
                wait_until((tmp_path / "site" / "trains").exists)
                assert children(worker.pid)
                driver.kill()
            wait_until(lambda: not children(worker.pid))
            parity.sweep(sweep, out=tmp_path / "out", execution=Execution(executor="dask", scheduler=address))
            wait_until(lambda: not children(worker.pid))
            assert worker.poll() is None
    assert "error" not in {row["status"] for row in rows(tmp_path / "out")}


@pytest.mark.timeout(120)
def test_without_workers_it_is_told_and_a_new_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("parity.sweep.schedule"), "LOOK_AROUND", 0.2)
    sweep, told = config("numpy", depths=(1, 2, 3)), []
    with cluster(tmp_path, workers=1) as (address, workers):

        class Ending(SilentProgress):
            def update(self, share: float, description: str) -> None:
                if share > 0.2 and len(workers) == 1:
                    workers[0].kill()
                    workers.append(workers[0])

            def say(self, text: str) -> None:
                told.append(text)
                workers.append(start_worker(tmp_path))

        execution = Execution(executor="dask", scheduler=address)
        parity.sweep(sweep, out=tmp_path / "there", execution=execution, progress=Ending())
        workers[-1].kill()
        workers[-1].wait()
    assert told == ["Dask has no worker left; the sweep goes on when one joins"]
    parity.sweep(sweep, out=tmp_path / "here")
    assert tables(tmp_path / "here") == tables(tmp_path / "there")


@pytest.mark.timeout(120)
def test_a_scheduler_that_dies_is_one_line_and_loses_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = config("numpy", depths=(1, 2, 3))
    with cluster(tmp_path, workers=1) as (address, _):
        (scheduler,) = (pid for pid in children() if b"dask_scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes())

        class Ending(SilentProgress):
            def update(self, share: float, description: str) -> None:
                if share > 0.2:
                    os.kill(scheduler, signal.SIGKILL)

        execution = Execution(executor="dask", scheduler=address)
        with pytest.raises(InputError, match=r"Dask's scheduler is gone, .* the same command goes on"):
            parity.sweep(sweep, out=tmp_path / "out", execution=execution, progress=Ending())
    kept = rows(tmp_path / "out")
    assert kept
    parity.sweep(sweep, out=tmp_path / "out")
    parity.sweep(sweep, out=tmp_path / "here")
    assert tables(tmp_path / "out") == tables(tmp_path / "here")
    assert all(row in rows(tmp_path / "here") for row in kept)


def test_workers_of_a_local_cluster_have_a_gpu_each() -> None:
    with (
        dask_workers._local_cluster(2, ("3", "GPU-5")) as own,
        dask_workers.Client(own, set_as_default=False) as client,
    ):
        client.wait_for_workers(2)
        found = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        offered = [info["resources"] for info in client.scheduler_info()["workers"].values()]
    assert sorted(found.values()) == ["3", "GPU-5"]
    assert offered == [{"GPU": 1}] * 2


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dask_workers, "PATIENCE", 1.0)
    execution = Execution(executor="dask", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9' .*; start one"):
        parity.sweep(config("numpy"), out=tmp_path, execution=execution)


@pytest.mark.timeout(120)
def test_a_scheduler_without_workers_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dask_workers, "PATIENCE", 5.0)
    with (
        cluster(tmp_path, workers=0) as (address, _),
        pytest.raises(InputError, match="has no worker after 5 s; start one with: dask worker"),
    ):
        parity.sweep(config("numpy"), out=tmp_path / "out", execution=Execution(executor="dask", scheduler=address))


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "a.example:1", "tls://a:65535", "tcp://[::1]:8786"])
def test_addresses_that_dask_takes(address: str) -> None:
    assert Execution(executor="dask", scheduler=address).scheduler == address


@pytest.mark.timeout(120)
def test_a_scheduler_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("parity.sweep.schedule"), "LOOK_AROUND", 0.2)
    monkeypatch.setattr(dask_workers, "ANSWER", 0.5)
    told: list[str] = []
    with cluster(tmp_path, workers=1) as (address, _):
        (scheduler,) = (pid for pid in children() if b"dask_scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes())

        class Freezing(SilentProgress):
            def update(self, share: float, description: str) -> None:
                if share > 0.2 and not told:
                    os.kill(scheduler, signal.SIGSTOP)

            def say(self, text: str) -> None:
                told.append(text)
                os.kill(scheduler, signal.SIGCONT)

        execution = Execution(executor="dask", scheduler=address)
        report = parity.sweep(config("numpy", depths=(1, 2, 3)), execution=execution, progress=Freezing())
    assert told == ["Dask's scheduler does not answer"]
    assert report.complete
    assert not report.has_errors


@pytest.mark.timeout(120)
def test_a_scheduler_that_dies_before_it_has_a_worker_is_one_line(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=0) as (address, _), ThreadPoolExecutor(1) as beside:
        (scheduler,) = (pid for pid in children() if b"dask_scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes())
        wait_for_workers = dask_workers.Client.wait_for_workers

        def kill_first(self: Any, *arguments: Any, **named: Any) -> None:
            os.kill(scheduler, signal.SIGKILL)
            wait_for_workers(self, *arguments, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dask_workers.Client, "wait_for_workers", kill_first)
            sweeping = beside.submit(
                parity.sweep, config("numpy"), execution=Execution(executor="dask", scheduler=address)
            )
            with pytest.raises(InputError, match="Dask's scheduler is gone"):
                sweeping.result()


@pytest.mark.timeout(120)
def test_when_the_scheduler_is_gone_the_driver_says_so_and_workers_end_their_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, though a worker waits half a minute for what its threads do; and Dask's own log says nothing."""
    with strange(tmp_path, "hangs"):
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
        with cluster(tmp_path, workers=1) as (address, (worker,)):
            (scheduler,) = (pid for pid in children() if b"dask_scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes())
            with start_driver(tmp_path / "out", address, stderr=subprocess.PIPE) as driver:
                wait_until((tmp_path / "site" / "trains").exists)
                os.kill(scheduler, signal.SIGKILL)
                told = driver.communicate(timeout=60)[1].decode()
            assert driver.returncode == 2
            assert "bnparity: Dask's scheduler is gone" in told
            assert len(told.splitlines()) == 2  # how far it was, and that
            wait_until(lambda: not children(worker.pid), seconds=15)


def start_driver(out: Path, address: str, stderr: int) -> "subprocess.Popen[bytes]":
    """A sweep of the strange backend's depth 1."""
    command = [sys.executable, "-m", "parity", "sweep", "--framework", "strange", "--dataset", "synthetic"]
    command += ["--depths", "1", "--out", str(out), "--executor", "dask", "--scheduler", address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)


def test_without_dask_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "parity.sweep.dask_workers")
    with pytest.raises(InputError, match=r"pip install 'bnparity\[dask\]'"):
        parity.sweep(config("numpy"), execution=Execution(executor="dask"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"executor": "cloud"}, "executor must be one of in-process, processes, dask, got 'cloud'"),
        ({"executor": "processes", "workers": -1}, "workers must be an integer of at least 0"),
        ({"executor": "processes", "workers": 10**6}, "workers must be at most"),
        ({"workers": 2}, "--workers needs processes that can be ended: use --executor processes"),
        ({"time_limit": 2.0}, "--time-limit needs processes that can be ended"),
        ({"executor": "dask", "time_limit": 0.0}, "time_limit must be a finite number above 0"),
        ({"executor": "processes", "scheduler": "tcp://a:1"}, "a scheduler is Dask's"),
        ({"executor": "dask", "scheduler": "tcp://a:1", "workers": 2}, "workers are those that the scheduler has"),
        *(
            ({"executor": "dask", "scheduler": address}, "a scheduler must be an address and a port, such as")
            for address in (
                "foo",
                "127.0.0.1",
                "tcp://",
                ":",
                " ",
                "127.0.0.1:x",
                "http://a:1",
                "tcp://a:99999",
                "a:0",
                f"{'a' * 70}:1",
                "tcp://a b:1",
            )
        ),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Execution(**fields)
