"""Programs compiled for a chip that this machine need not have."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from parity.backend.port import Port, Task
from parity.spec import DType, ModelSpec, Precision

# What a TPU's library would else ask the network; and that several processes may load it, since none has a TPU.
NO_MACHINE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@contextmanager
def no_machine() -> Iterator[None]:
    """Keep a chip's library from looking for a machine with chips, here and in processes that are started meanwhile."""
    own = {name: value for name, value in NO_MACHINE.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


@dataclass(frozen=True, kw_only=True)
class Chips:
    """What is compiled for.

    Args:
        kind: of chip, "v5e" say.
        count: of chips that share the work.
    """

    kind: str
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What the compiler of a chip says of a program, of its part on one of the chips. Nothing here is measured.

    Args:
        operations: floating-point operations; a product of float32 counts once, in however many passes it is made.
            Those of float64 are what the chip emulates it by.
        moved_bytes: that its operations read and write, of which some never leave the chip.
        least_bytes: of its arguments and results, as the chip lays them out.
        has_loop: whether it has a loop, whose operations the compiler counts once, however often it is run.
        memory_bytes: that it needs: arguments, results, what it keeps meanwhile, and its own code.
        estimate_s: seconds, without the operations that the compiler cannot estimate; None if these are too many.
        not_estimated: how many these are.
    """

    operations: float
    moved_bytes: float
    least_bytes: int
    memory_bytes: int
    estimate_s: float | None
    not_estimated: int
    has_loop: bool = False


class CannotBeCompiled(Exception):  # noqa: N818
    """What a compiler says of a program that it does not compile.

    Args:
        words: its own, in one line.
        lacks_memory: whether it says that the chip's memory is too small.
    """

    def __init__(self, words: str, lacks_memory: bool = False) -> None:
        super().__init__(words, lacks_memory)
        self.words, self.lacks_memory = words, lacks_memory


@dataclass(frozen=True, kw_only=True)
class ChipProgram:
    """A program for a chip.

    Args:
        name: of it.
        models: that it has on each chip.
        per: what one of its runs is counted in, "model-step" or "batch".
        count: how many of these a run makes on each chip; 0 if that is known only when it runs.
        compile: compiles it; it raises `CannotBeCompiled`.
    """

    name: str
    models: int
    per: str
    count: int
    compile: Callable[[], Compiled]


class Compiler(Protocol):
    """The programs of this project's networks, for a chip.

    Attributes:
        lanes: of a population on each chip: how many train side by side.
    """

    lanes: Sequence[int]

    def population(
        self, spec: ModelSpec, members: int, lanes: int, samples: int, dtype: DType, batch_size: int
    ) -> Sequence[ChipProgram]:
        """Return what a sweep runs, and one update of it.

        Args:
            spec: the network.
            members: of a lane.
            lanes: on each chip.
            samples: the size of the training set.
            dtype: working dtype.
            batch_size: samples in a minibatch.
        """
        ...

    def learner(self, spec: ModelSpec, dtype: DType, batch_size: int) -> Sequence[ChipProgram]:
        """Return the steps of a check."""
        ...


@runtime_checkable
class Compilable(Port, Protocol):
    """A port whose model can be compiled for a chip."""

    def compile_for(
        self,
        chips: Chips,
        inputs: Mapping[str, Any],
        axes: Mapping[str, Any],
        task: Task,
        dtype: str,
        precision: Precision,
    ) -> ChipProgram:
        """Return the program of a task. Several chips share the samples, and each has all parameters.

        Args:
            chips: what is compiled for.
            inputs: the batch, by name.
            axes: of the samples in each array of it; -1 in one that has no samples.
            task: what is done.
            dtype: of parameters, statistics and floating-point inputs.
            precision: of float32 matrix products.

        Raises:
            InputError: there is no compiler for the chips here, or they cannot share the batch.
        """
        ...
