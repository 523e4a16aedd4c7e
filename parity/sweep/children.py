"""Processes that train blocks: each thread of a worker has its own, and data is sent to each once."""

import os
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

from parity.check.episode import SideEndedError, SideError
from parity.check.sides import ProcessSide, SideSpec, StartError
from parity.data import StandardizedData
from parity.errors import InputError
from parity.machine import CORES_VARIABLE
from parity.sweep.blocks import Block, Done, crashed, train_block

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU
RETRIES = 2  # of a block whose process died
_held: dict[str, StandardizedData] = {}  # in a child: the data by digest


class Children:
    """The processes of one worker, which end with it.

    A block whose process dies is tried again in a new one, `RETRIES` times; one that hangs is ended.
    What is left then are trials of status `error`.

    Args:
        cores: that each may use.
        gpus: numbers or names of the GPUs that the threads share out; none to leave that to the frameworks.
    """

    def __init__(self, cores: int = 1, gpus: tuple[str, ...] = ()) -> None:
        self._cores, self._gpus, self._closed = cores, gpus, False
        self._sides: dict[tuple[int, str, str], tuple[ProcessSide, set[str]]] = {}
        self._threads: list[int] = []
        self._lock = Lock()

    def train(self, block: Block, data: StandardizedData) -> Done:
        """Train a block in the process of the calling thread.

        Raises:
            InputError: the framework cannot be started there, is another version, or a group does not fit into memory.
        """
        place = get_ident(), block.framework, block.config.device
        for attempt in range(RETRIES + 1):
            try:
                side, held = self._side(place)
            except StartError as error:
                if self._closed or attempt == RETRIES:
                    return crashed(block, str(error))
                continue
            side.time_limit = block.time_limit
            try:
                if block.digest not in held:
                    side.call(_hold, block.digest, data)
                    held.add(block.digest)
                answer = side.call(_train, block)
            except SideError as error:
                side.close()
                with self._lock:
                    self._sides.pop(place, None)
                if self._closed or attempt == RETRIES or not isinstance(error, SideEndedError):
                    return crashed(block, f"the process that trained it {error}")
                continue
            if isinstance(answer, InputError):
                raise answer
            return answer
        raise AssertionError("every attempt returns or goes on")

    def kill(self) -> None:
        """End all processes, and start no more; whoever waits for one is told so."""
        with self._lock:
            self._closed = True
            for side, _ in self._sides.values():
                side.kill()

    def close(self) -> None:
        """Give back what processes held that have been killed, when nobody waits for them."""
        for side, _ in self._sides.values():
            side.close()

    def _side(self, place: tuple[int, str, str]) -> tuple[ProcessSide, set[str]]:
        with self._lock:
            if place in self._sides:
                return self._sides[place]
            if place[0] not in self._threads:
                self._threads.append(place[0])
        started = ProcessSide(self._spec(place)), set[str]()
        with self._lock:
            self._sides[place] = started
            if self._closed:
                started[0].kill()
        return started

    def _spec(self, place: tuple[int, str, str]) -> SideSpec:
        thread, framework, device = place
        settings = [(CORES_VARIABLE, str(self._cores))]
        if self._gpus:
            gpu = self._gpus[self._threads.index(thread) % len(self._gpus)]
            settings.append(("CUDA_VISIBLE_DEVICES", gpu))
        if device == "gpu":
            # JAX would take most of its memory for itself, and the other framework may have a process there too.
            settings.append(("XLA_PYTHON_CLIENT_PREALLOCATE", "false"))
        return SideSpec(
            target=framework, device=device, time_limit=None, threads=self._cores, settings=tuple(settings),
            whole_machine=True,
        )  # fmt: skip


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` lists, or else that NVIDIA's driver knows."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        return tuple(map(str, range(len(list(DRIVER.iterdir()))))) if DRIVER.is_dir() else ()
    return tuple(word.strip() for word in told.split(",") if word.strip() not in ("", "-1"))


def _hold(backend: Any, digest: str, data: StandardizedData) -> None:
    del backend
    _held.clear()  # of one sweep at a time
    _held[digest] = data


def _train(backend: Any, block: Block) -> Done | InputError:
    try:
        return train_block(backend, block, _held[block.digest])
    except InputError as error:  # an answer, which a process can hand to another
        return error
