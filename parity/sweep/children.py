"""Processes that train blocks: each thread of a worker has its own, and data is sent to each once."""

import os
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

from parity.data import StandardizedData
from parity.errors import InputError
from parity.machine import CORES_VARIABLE
from parity.process import ProcessSide, SideEndedError, SideError, StartError
from parity.sides import SideSpec, start_process
from parity.sweep.blocks import Block, Done, crashed, train_block

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU
RETRIES = 2  # of a block whose process died
START_PATIENCE = 120.0  # seconds, at least, that a process may take to start where blocks have a time limit
Place = tuple[int, str, str]  # of a process: thread, framework, device
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
        self._sides: dict[Place, tuple[ProcessSide, set[str]]] = {}
        self._under_way: dict[object, Place] = {}
        self._threads: list[int] = []
        self._lock = Lock()

    def train(self, block: Block, data: StandardizedData, name: object = None) -> Done:
        """Train a block in the process of the calling thread.

        Args:
            block: to be trained.
            data: that it is trained on.
            name: for `give_up`.

        Raises:
            InputError: the framework cannot be started there, is another version, or a group does not fit into memory.
        """
        place, name = (get_ident(), block.framework, block.config.device), name or object()
        with self._lock:
            self._under_way[name] = place
        try:
            answer = self._try(block, data, name, place)
        finally:
            with self._lock:
                self._under_way.pop(name, None)
        if isinstance(answer, InputError):
            raise answer
        return answer

    def give_up(self, name: object) -> None:
        """End the process that trains the block of this name, if one does; it is not tried again."""
        with self._lock:
            place = self._under_way.pop(name, None)
            if place in self._sides:
                self._sides[place][0].kill()

    def give_up_all(self) -> None:
        """End all processes; what they train is not tried again."""
        with self._lock:
            self._under_way.clear()
            for side, _ in self._sides.values():
                side.kill()

    def let_go(self, digest: str) -> None:
        """End the processes that have nothing to do and hold this data."""
        with self._lock:
            busy = set(self._under_way.values())
            idle = [place for place, (_, held) in self._sides.items() if digest in held and place not in busy]
            sides = [self._sides.pop(place)[0] for place in idle]
        for side in sides:
            side.close()

    def kill(self) -> None:
        """End all processes, and start no more; a pending `train` then returns crashed trials."""
        with self._lock:
            self._closed = True
            for side, _ in self._sides.values():
                side.kill()

    def close(self) -> None:
        """Release what killed processes held. No thread may be waiting for them."""
        with self._lock:  # a thread that was cut off may still be dropping its own
            sides = [side for side, _ in self._sides.values()]
        for side in sides:
            side.close()

    def _try(self, block: Block, data: StandardizedData, name: object, place: Place) -> Done | InputError:
        for attempt in range(RETRIES + 1):
            try:
                side, held = self._side(place, name, block.time_limit)
                side.time_limit = block.time_limit
                if block.digest not in held:
                    side.call(_hold, block.digest, data)
                    held.clear()
                    held.add(block.digest)
                return side.call(_train, block)
            except (StartError, SideError) as error:
                self._drop(place)
                at_start = isinstance(error, StartError)
                died = isinstance(error.__cause__ if at_start else error, SideEndedError)
                if attempt == RETRIES or not died or not self._is_wanted(name):
                    return crashed(block, str(error) if at_start else f"the process that trained it {error}")
        raise AssertionError("every attempt returns or goes on")

    def _is_wanted(self, name: object) -> bool:
        return not self._closed and name in self._under_way

    def _side(self, place: Place, name: object, time_limit: float | None) -> tuple[ProcessSide, set[str]]:
        with self._lock:
            if place in self._sides:
                return self._sides[place]
            if not self._is_wanted(name):
                raise StartError("nobody wants it any more")
            if place[0] not in self._threads:
                self._threads.append(place[0])
            try:
                side = start_process(self._spec(place, time_limit))
            except OSError as error:
                raise InputError(f"no process can be started: {error.strerror}; use fewer --workers") from error
            started = self._sides[place] = side, set[str]()  # before it is ready, so that it can be ended meanwhile
        try:
            side.wait_until_ready()
        except BaseException:
            self._drop(place)
            raise
        return started

    def _drop(self, place: Place) -> None:
        with self._lock:
            side, _ = self._sides.pop(place, (None, None))
        if side is not None:
            side.close()

    def _spec(self, place: Place, time_limit: float | None) -> SideSpec:
        thread, framework, device = place
        # JAX would take most of a GPU's memory for itself, and the other framework may have a process there too.
        settings = [(CORES_VARIABLE, str(self._cores)), ("XLA_PYTHON_CLIENT_PREALLOCATE", "false")]
        if self._gpus:
            gpu = self._gpus[self._threads.index(thread) % len(self._gpus)]
            settings.append(("CUDA_VISIBLE_DEVICES", gpu))
        return SideSpec(
            target=framework, device=device, threads=self._cores, settings=tuple(settings), whole_machine=True,
            time_limit=None if time_limit is None else max(time_limit, START_PATIENCE),
        )  # fmt: skip


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that `CUDA_VISIBLE_DEVICES` lists, else those that NVIDIA's driver knows."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return tuple(map(str, range(len(list(DRIVER.iterdir()))))) if DRIVER.is_dir() else ()
    return tuple(word.strip() for word in listed.split(",") if word.strip() not in ("", "-1"))


def _hold(backend: Any, digest: str, data: StandardizedData) -> None:
    _held.clear()  # of one sweep at a time
    _held[digest] = data


def _train(backend: Any, block: Block) -> Done | InputError:
    try:
        return train_block(backend, block, _held[block.digest])
    except InputError as error:  # an answer, which a process can hand to another
        return error
