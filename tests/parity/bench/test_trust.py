"""Whether the machine was the benchmark's own, and what its figures answer."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.bench import BenchConfig, BenchReport
from parity.bench.answers import answers, groups
from parity.bench.config import Case
from parity.bench.records import Row
from parity.bench.screen import cells, notes
from parity.clock import Meter, Use, Watch, Yardstick, are_apart, median_interval
from parity.clock.watch import LOOKS
from parity.machine import usable_cores

SHALLOW, DEEP = Case(depth=1), Case(depth=8)


def row_of(samples: Iterable[float], case: Case = SHALLOW, **changes: Any) -> Row:
    median, low, high = median_interval(values := tuple(samples))
    values_of: dict[str, Any] = {"framework": "jax", "mode": "jit_step", "population": 1, "others": 0.0}
    return Row(
        device="cpu", precision="highest", case=case, median_us=median, low_us=low, high_us=high, samples_us=values,
        is_apart=are_apart(values), **(values_of | changes),
    )  # fmt: skip


def near(microseconds: float) -> list[float]:
    return [microseconds * factor for factor in (0.99, 1.0, 1.01, 1.0, 0.99, 1.0, 1.01, 1.0)]


def watched(uses: list[Use]) -> Watch:
    waiting = iter([use for use in uses for _ in range(LOOKS)])
    watch = Watch(lambda: next(waiting))
    for _ in uses:
        watch.look()
    return watch


def use(seconds: float = 0.05, share: float = 0.99, others: float = 0.0) -> Use:
    return Use(seconds, share * usable_cores(), others)


# doubts


def test_a_machine_of_its_own_leaves_no_doubt() -> None:
    rows = [row_of(near(each), others=0.01) for each in (10, 20, 30)]
    assert watched([use(), use(0.052), use(0.049)]).doubts(rows) == ()


@pytest.mark.parametrize(
    ("uses", "words"),
    [
        ([use(), use(share=0.6), use()], "work for all cores got as little as 60% of them"),
        ([use(), use(0.07), use()], "one and the same work took from 50 to 70 ms, 50 for the most part"),
    ],
)
def test_a_yardstick_that_others_hold_up_is_a_doubt(uses: list[Use], words: str) -> None:
    (doubt,) = watched(uses).doubts([row_of(near(10))])
    assert words in doubt
    assert len(watched([*uses, *[use()] * 30]).doubts([row_of(near(10))])) == 1  # once is enough


def test_what_passes_in_an_instant_is_no_doubt() -> None:
    waiting = iter([use(), use(), use(), use(0.08, 0.6), use(), use(0.09, 1.0)])
    watch = Watch(lambda: next(waiting))
    for _ in range(2):
        watch.look()
    assert watch.doubts([row_of(near(10))]) == ()


def test_what_others_use_while_a_mode_is_timed_is_a_doubt() -> None:
    cores = os.cpu_count() or 1
    rows = [row_of(near(10))] * 7 + [row_of(near(10), DEEP, mode="scan", others=float(cores))]
    (doubt,) = watched([use()]).doubts(rows)
    assert "while jax's scan at depth 8" in doubt
    assert watched([use()]).doubts([*rows[:-1], row_of(near(10), others=0.2 * cores)]) == ()  # in one row of eight


def test_turns_that_differ_are_marked_and_in_many_rows_a_doubt() -> None:
    apart = row_of([10.0, 10.1, 9.9, 10.0, 12.0, 12.1, 11.9, 12.0])
    assert are_apart(apart.samples_us)
    assert cells(apart)[3].endswith("?")
    assert list(notes([apart])) == [("jax jit_step", "its two turns differ: 9.9-10.1 and 11.9-12.1 µs")]
    calm = [row_of(near(10))] * 9
    assert watched([use()]).doubts([apart, *calm]) == ()
    (doubt,) = watched([use()]).doubts([apart, *calm[1:]])
    assert doubt.startswith("in 1 of 9 rows the two turns differ")


@pytest.mark.parametrize(
    "samples",
    [
        [10.0, 10.0, 10.5, 10.5],  # a difference that is small
        [10.0, 13.0, 11.0, 14.0],  # a wide spread in either turn
        near(10),
    ],
)
def test_turns_that_agree_are_not_apart(samples: list[float]) -> None:
    assert not are_apart(samples)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


def test_others_are_seen() -> None:
    """With three processes for each core, all as important as this one, its threads get about a quarter."""
    with busy(3 * (os.cpu_count() or 1)):
        meter, yardstick = Meter(), Yardstick()
        seen = [yardstick.measure() for _ in range(5)]
        others = meter.read().others
    assert min(each.own for each in seen) < 0.9 * usable_cores()
    assert others > 0.05 * (os.cpu_count() or 1)


# answers


def report_of(*rows: Row) -> BenchReport:
    frameworks = tuple(dict.fromkeys(row.framework for row in rows))
    return BenchReport(
        config=BenchConfig(frameworks=frameworks, cases=(SHALLOW,)), rows=rows, environment={}, command="", seconds=1.0
    )


TORCH: dict[str, Any] = {"framework": "torch", "mode": "eager_loop"}


def test_each_framework_is_compared_at_its_best() -> None:
    compiled: dict[str, Any] = {**TORCH, "mode": "compiled_step"}
    many = row_of(near(5), population=32, mode="scan"), row_of(near(15), population=16, **compiled)
    rows = row_of(near(10)), row_of(near(80), **TORCH), row_of(near(24), **compiled)
    one, other = answers(report_of(*rows, *many))
    place = "(depth 1, width 64, batch 32, with batch norm)"
    assert one.question == "one model"
    assert one.text == f"jax's jit step, 2.4 times as fast as torch's compiled step {place}"
    assert other.text == f"jax's scan of 32, 3 times as fast as torch's compiled step of 16 {place}"


def test_what_the_intervals_do_not_tell_apart_is_said() -> None:
    (answer,) = answers(report_of(row_of(near(10)), row_of(near(10.1), **TORCH)))
    assert answer.text.startswith("no difference that is sure between jax's jit step and torch's eager loop")


def test_rows_whose_turns_differ_decide_nothing() -> None:
    apart = row_of([10.0, 10.1, 9.9, 10.0, 12.0, 12.1, 11.9, 12.0])
    (answer,) = answers(report_of(apart, row_of(near(80), **TORCH)))
    assert answer.text.startswith("no difference that is sure")


def test_over_several_networks_an_answer_is_a_range() -> None:
    cases = [Case(depth=depth) for depth in (1, 8, 25, 50)]
    pairs = zip(cases, (20, 40, 5, 10.1), strict=True)
    rows = [row for case, cost in pairs for row in (row_of(near(10), case), row_of(near(cost), case, **TORCH))]
    (answer,) = answers(report_of(*rows))
    assert answer.text == (
        "jax, 2 to 4 times as fast as torch (2 of 4 networks); "
        "torch, 2 times as fast as jax (depth 25, width 64, batch 32, with batch norm); "
        "no difference that is sure (depth 50, width 64, batch 32, with batch norm)"
    )


def test_frameworks_are_named_as_their_makers_write_them() -> None:
    rows = row_of(near(10), title="JAX"), row_of(near(24), title="PyTorch", **TORCH)
    others = [replace(row, case=DEEP) for row in rows]
    (one,) = answers(report_of(*rows))
    assert one.text.startswith("JAX's jit step, 2.4 times as fast as PyTorch's eager loop")
    (several,) = answers(report_of(*rows, *others))
    assert several.text == "JAX, 2.4 times as fast as PyTorch (all networks)"


def test_one_framework_alone_is_told_by_its_best() -> None:
    best = row_of(near(10), framework="torch", mode="compiled_step", ratio_to_lab_loop=4.0)
    (answer,) = answers(report_of(best, row_of(near(40), **TORCH)))
    assert answer.text.startswith("torch's compiled step, 4 times as fast as the lab's loop (depth 1")


def test_rows_stand_by_what_they_answer_and_the_fastest_first() -> None:
    failed = replace(row_of(near(1)), median_us=None, note="it failed")
    rows = [failed, row_of(near(30)), row_of(near(10), population=8), row_of(near(20))]
    found = {name: [row.median_us for row in own] for name, own in groups(rows)}
    assert found == {
        "one model": [pytest.approx(20), pytest.approx(30), None],
        "many models at once": [np.median(near(10))],
    }
