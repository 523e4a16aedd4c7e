"""What a port may leave out: the base class and the adapter fill in the defaults."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.backend import Backend, BackendAdapter, as_backend, load_backend
from parity.backend.compiler import Chips
from parity.errors import InputError
from parity.reference import NumpyBackend
from parity.reference.backend import NumpyLearner
from parity.spec import ModelSpec
from parity.weights import draw_weights

SPEC = ModelSpec(input_dim=3, output_dim=2, num_hidden_layers=1, hidden_width=4)


class BareLearner:
    """The least that a learner must have."""

    def __init__(self, spec: ModelSpec, weights: Any) -> None:
        honest = NumpyLearner(spec, weights)
        self.train_step, self.evaluate, self.weights = honest.train_step, honest.evaluate, honest.weights


class Bare:
    """The least that a port must have."""

    def learner(self, spec: ModelSpec, weights: Any, dtype: str) -> BareLearner:
        return BareLearner(spec, weights)


class Subclass(Backend):
    """The same, as a subclass."""

    name = "Bare"

    def learner(self, spec: Any, weights: Any, dtype: Any) -> Any:
        return NumpyLearner(spec, weights)


@pytest.fixture(params=[lambda: as_backend(Bare()), Subclass])
def bare(request: pytest.FixtureRequest) -> Backend:
    return request.param()


def test_a_port_with_a_learner_alone_has_every_default(bare: Backend) -> None:
    assert bare.name == "Bare"
    assert (bare.lanes, bare.accelerator, bare.has_population) == (None, "", False)
    assert (bare.versions(), bare.modes(), bare.free_bytes(), dict(bare.variants())) == ({}, None, None, {})
    assert bare.pad_lanes(3, 8) == 3
    assert bare.inputs(*[None] * 3) is None  # pyright: ignore[reportArgumentType]
    assert list(bare.lower_ahead(SPEC, 1, 1, 1, "float32", 1, ())) == []
    bare.own_process()


@pytest.mark.parametrize(
    "ask",
    [
        lambda backend: backend.with_fault("wrong_epsilon"),
        lambda backend: backend.tools(),
        lambda backend: backend.compiler(Chips(kind="v5e")),
        lambda backend: backend.population(SPEC, {}, [0.1], np.ones((2, 3)), np.zeros(2, int), "float64"),
        lambda backend: backend.to_native({}, SPEC, "float64"),
        lambda backend: backend.from_native({}, SPEC),
    ],
)
def test_what_a_port_does_not_offer_is_one_line_with_its_name(bare: Backend, ask: Callable[[Backend], Any]) -> None:
    with pytest.raises(InputError, match="Bare") as error:
        ask(bare)
    assert "\n" not in str(error.value)


def test_a_learner_without_activations_shows_none() -> None:
    learner = as_backend(Bare()).learner(SPEC, draw_weights(SPEC, 0), "float64")
    assert learner.activations(np.ones((2, 3))) is None
    assert learner.evaluate(np.ones((2, 3))).shape == (2, 2)
    honest = as_backend(NumpyBackend()).learner(SPEC, draw_weights(SPEC, 0), "float64")
    assert honest.activations(np.ones((2, 3)))


def test_a_port_in_two_wrappings_has_no_more_than_it_had() -> None:
    assert not as_backend(Bare()).has_population
    assert not BackendAdapter(as_backend(Bare())).has_population
    assert BackendAdapter(NumpyBackend()).has_population


def test_what_a_port_has_of_its_own_is_kept() -> None:
    class Own(Bare):
        name, lanes, accelerator = "own", 3, "Abacus 3000"

        def population(self, *arguments: Any) -> Any:
            return arguments

    own = as_backend(Own())
    assert (own.name, own.lanes, own.accelerator, own.has_population) == ("own", 3, "Abacus 3000", True)
    assert own.population(1, 2) == (1, 2)  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert as_backend(own) is own
    assert copy.deepcopy(own).name == "own"


def test_a_backend_is_taken_as_it_is(backend: Backend) -> None:
    assert as_backend(backend) is backend
    assert backend.has_population


@pytest.mark.parametrize("target", [Bare, {"learner": "none"}, None])
def test_what_is_no_backend_is_refused(target: Any) -> None:
    with pytest.raises(InputError, match=r"this is no backend but .*; it must be an object with the method learner\("):
        as_backend(target)


def test_a_declared_port_gets_the_defaults_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "bare"

        def load(self) -> type:
            return Bare

    monkeypatch.setattr("parity.backend.load._entry_points", lambda: {"bare": Entry()})
    assert load_backend("bare").versions() == {}


def test_a_backend_of_someone_elses_is_not_shown_as_the_framework_that_it_is_made_of() -> None:
    class Mine(NumpyBackend):
        name = "mine"

    class Titled(NumpyBackend):
        name, title = "titled", "Titled"

    shown = [each.shown_name for each in (NumpyBackend(), Mine(), Titled(), Subclass(), as_backend(Bare()))]
    assert shown == ["NumPy", "mine", "Titled", "Bare", "Bare"]
