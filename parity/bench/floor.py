"""What a machine needs at least for a model-step: its matrix products, or its memory traffic, whichever takes longer.

The products of an SGD update of one network, for a batch of n samples::

    forward     (n, fan_in) @ (fan_in, fan_out)       of every layer
    backward    (fan_in, n) @ (n, fan_out)            of every layer: the kernel's gradient
                (n, fan_out) @ (fan_out, fan_in)      of every layer but the first: the input's

each at the best rate that any framework or NumPy shows on this machine, in either order of the operands, alone or for
several models at once, on one core times the number of cores; on a GPU for as many models as fill it. The memory
traffic is one read and one write of every weight, at the rate of a copy on all cores at once, or on the GPU. Element-
wise work, the choice of the minibatch and the loss count nothing, so no real step reaches the floor.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from parity.bench.config import Case
from parity.machine import usable_cores
from parity.weights import weight_shapes

STACKED = (1, 8)  # models at once, on a core
STACKED_TO_FILL = (512, 4096)  # and on a device that a few would leave idle
MEASUREMENTS = 7
MEASURED_SECONDS = 0.004
COPIED_BYTES = 2**26
COPIED_ON_DEVICE = 2**30  # far more than its caches hold

Shape = tuple[int, ...]
Timer = Callable[[Shape, Shape], float]
"""Seconds of one matrix product of operands of these shapes, on one core or device."""


@dataclass(frozen=True)
class Product:
    """A matrix product (rows, inner) @ (inner, columns) in a model-step.

    `shared` says whether models that are trained on the same minibatch share its left operand.
    """

    rows: int
    inner: int
    columns: int
    shared: bool


def products(case: Case) -> Iterator[Product]:
    """The matrix products of a model-step."""
    spec, n = case.spec, case.batch_size
    fans = [(spec.input_dim, case.width, True)] + [(case.width, case.width, False)] * (case.depth - 1)
    for fan_in, fan_out, first in [*fans, (case.width, spec.output_dim, False)]:
        yield Product(n, fan_in, fan_out, first)
        yield Product(fan_in, n, fan_out, first)
        if not first:
            yield Product(n, fan_out, fan_in, False)


def layouts(product: Product, models: tuple[int, ...] = STACKED) -> Iterator[tuple[Shape, Shape, int]]:
    """The shapes of the operands of a product for some numbers of models, and the number."""
    m, k, n = product.rows, product.inner, product.columns
    for stacked in models:
        if product.shared or stacked == 1:
            yield (m, k), (k, n * stacked), stacked
            yield (n * stacked, k), (k, m), stacked
        else:
            yield (stacked, m, k), (stacked, k, n), stacked
            yield (stacked, n, k), (stacked, k, m), stacked


class Floor:
    """The floor of every case.

    Args:
        timers: the best of them counts.
        copy_rate: bytes per second, read and written, of all devices together.
        devices: cores or devices that work at once.
        models: that are multiplied at once.
    """

    def __init__(self, timers: list[Timer], copy_rate: float, devices: int, models: tuple[int, ...] = STACKED) -> None:
        self._copy_rate, self._devices = copy_rate, devices

        @cache
        def seconds(product: Product) -> float:
            return min(
                timer(left, right) / stacked for left, right, stacked in layouts(product, models) for timer in timers
            )

        self._seconds = seconds

    def microseconds(self, case: Case) -> float:
        """Of a model-step, by a population that fills all devices."""
        multiplying = sum(self._seconds(product) for product in products(case)) / self._devices
        weights = sum(int(np.prod(shape)) for shape in weight_shapes(case.spec).values())
        moving = 2 * 4 * weights / self._copy_rate  # one read and one write of every weight
        return 1e6 * max(multiplying, moving)


def numpy_seconds(left: Shape, right: Shape) -> float:
    """Seconds of a matrix product in NumPy, in float32; threads are those of its process."""
    x, y = np.ones(left, np.float32), np.ones(right, np.float32)
    out = np.matmul(x, y)
    return best_seconds(lambda: np.matmul(x, y, out=out))


def best_seconds(work: Callable[[], object]) -> float:
    """The least that a piece of work takes, over a few measurements of many."""
    work()
    start = time.perf_counter()
    work()
    repeats = max(1, round(MEASURED_SECONDS / max(time.perf_counter() - start, 1e-7)))
    found = []
    for _ in range(MEASUREMENTS):
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        found.append((time.perf_counter() - start) / repeats)
    return min(found)


def copy_rate() -> float:
    """Bytes per second, read and written, of copies on all cores at once."""
    cores = usable_cores()
    pairs = [(np.ones(COPIED_BYTES // 8), np.ones(COPIED_BYTES // 8)) for _ in range(cores)]

    def copy(pair: tuple[np.ndarray, np.ndarray]) -> None:
        np.copyto(*pair)

    with ThreadPoolExecutor(cores) as threads:
        seconds = best_seconds(lambda: list(threads.map(copy, pairs)))
    return 2 * COPIED_BYTES * cores / seconds
