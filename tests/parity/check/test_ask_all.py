"""Sides compute one configuration ahead of the one that is compared, and stop when nobody listens any more."""

import threading
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from parity.check.lockstep import CANDIDATE, REFERENCE, Asked, RoleError, ask_all
from parity.check.probes import Course, draw_samples, natural_episodes
from parity.check.records import Question, Setting
from parity.process import SideError
from parity.reference import NumpyBackend
from parity.spec import ModelSpec
from parity.weights import draw_weights

SPEC = ModelSpec(input_dim=4, output_dim=3, num_hidden_layers=1, hidden_width=4)


class InThisProcess:
    """A side that computes here, after `before` has been called."""

    name = "numpy"

    def __init__(self, before: Callable[[], Any] = lambda: None) -> None:
        self.before, self.calls = before, 0

    def call(self, task: Callable, *arguments: Any) -> Any:
        self.calls += 1
        self.before()
        return task(NumpyBackend(), *arguments)


def configurations(sides: dict[str, Any], begun: list[int], count: int = 4) -> Iterator[Asked]:
    for seed in range(count):
        begun.append(seed)
        samples, weights = draw_samples(SPEC, 8, seed), draw_weights(SPEC, seed)
        course = Course(spec=SPEC, weights=weights, samples=samples, learning_rate=0.1, steps=(0, 1), seed=seed)
        episodes = list(natural_episodes(course))
        yield Asked(Question.SEMANTIC, Setting(depth=1, batch_norm=True, seed=seed), episodes, sides)


def ask(sides: dict[str, Any], begun: list[int]) -> Iterator[Any]:
    third: Any = InThisProcess()
    return ask_all(configurations(sides, begun), third, "highest")


def test_comparisons_come_in_order_and_sides_are_one_configuration_ahead() -> None:
    begun: list[int] = []
    asked = ask({CANDIDATE: InThisProcess(), REFERENCE: InThisProcess()}, begun)
    ahead = [(found.setting.seed, len(begun)) for found in asked]
    assert ahead == [(0, 2), (1, 3), (2, 4), (3, 4)]


def test_the_candidates_error_is_told_first() -> None:
    def fail() -> None:
        raise SideError("has no ink")

    failed = Event()
    late, early = (lambda: (failed.wait(10), fail())), (lambda: (failed.set(), fail()))
    sides = {CANDIDATE: InThisProcess(late), REFERENCE: InThisProcess(early)}
    with pytest.raises(RoleError, match="the candidate numpy has no ink") as caught:
        next(ask(sides, []))
    assert caught.value.role == CANDIDATE


def test_when_nobody_listens_a_side_computes_no_further_episode() -> None:
    """A check that has failed does not wait for all that was asked ahead."""
    going, held, before = Event(), Event(), set(threading.enumerate())
    side = InThisProcess()
    side.before = lambda: side.calls > 3 and (going.set(), held.wait(10))
    asked: Any = ask({CANDIDATE: side}, [])
    next(asked)  # two episodes, and the first again; then the next configuration is under way
    assert going.wait(10)
    asked.close()
    held.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert side.calls == 4
