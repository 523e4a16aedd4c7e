"""Candidates that misbehave: each is made by a function without arguments, here or in a child as `misbehaving:NAME`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Inputs, Step
from parity.data import Dataset
from parity.reference import NumpyBackend
from parity.reference.backend import NumpyLearner
from parity.spec import ModelSpec, TrainSpec
from parity.weights import Array, Weights, cast_weights, draw_weights

FOREVER = 600.0


def same(value: Any) -> Any:
    return value


class MinimalLearner:
    """The least that a learner must have."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Array]) -> None:
        self._honest = NumpyLearner(spec, weights)

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Step:
        return replace(self._honest.train_step(inputs, labels, learning_rate), activations=None)

    def evaluate(self, inputs: Array) -> Array:
        return self._honest.evaluate(inputs)

    def weights(self) -> Weights:
        return self._honest.weights()


class Minimal:
    """The least that a backend must have."""

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> MinimalLearner:
        del dtype
        return MinimalLearner(spec, weights)


class BiasedMinimal(Minimal):
    """Minimal, with a biased running variance."""

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> MinimalLearner:
        learner = super().learner(spec, weights, dtype)
        learner._honest = NumpyBackend().with_fault("biased_running_variance").learner(spec, weights, "float64")
        return learner


@dataclass
class Bent:
    """The NumPy reference, with what it gives bent by functions of it.

    Args:
        step: of what `train_step` returns.
        logits: of what `evaluate` returns.
        state: of what `weights` returns.
        shown: of what `activations` returns.
        losses: of what `run_pass` returns.
        member: of a population member's weights.
        presented: of what `inputs` returns.
        versions: in place of the method.
        dtypes: what it says it offers.
        given: is called with the inputs and labels, before an update.
        loaded: is called with the weights that the learner is given.
        evaluated: is called with the inputs to be evaluated.
        name: what it calls itself.
    """

    step: Callable[[Step], Any] = same
    logits: Callable[[Array], Any] = same
    state: Callable[[Weights], Any] = same
    shown: Callable[[Weights], Any] = same
    losses: Callable[[Any], Any] = same
    member: Callable[[Weights], Any] = same
    presented: Callable[[Inputs], Any] = same
    given: Callable[[Array, NDArray[np.integer]], Any] = lambda inputs, labels: None
    loaded: Callable[[Mapping[str, Array]], Any] = same
    evaluated: Callable[[Array], Any] = same
    versions: Callable[[], Any] = lambda: {"bent": "1"}
    dtypes: Sequence[str] = ("float64",)
    name: str = "bent"

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> "BentLearner":
        del dtype
        honest = NumpyLearner(spec, weights)
        self.loaded(weights)
        return BentLearner(honest, self)

    def population(self, *arguments: Any, **options: Any) -> "BentPopulation":
        return BentPopulation(NumpyBackend().population(*arguments, **options), self)

    def inputs(self, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Any:
        return self.presented(NumpyBackend().inputs(dataset, spec, training))


@dataclass
class BentLearner:
    """See `Bent`."""

    honest: NumpyLearner
    by: Bent

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float) -> Any:
        step = self.honest.train_step(inputs, labels, learning_rate)
        self.by.given(inputs, labels)
        return self.by.step(step)

    def evaluate(self, inputs: Array) -> Any:
        logits = self.honest.evaluate(inputs)
        self.by.evaluated(inputs)
        return self.by.logits(logits)

    def activations(self, inputs: Array) -> Any:
        return self.by.shown(self.honest.activations(inputs))

    def weights(self) -> Any:
        return self.by.state(self.honest.weights())


@dataclass
class BentPopulation:
    """See `Bent`."""

    honest: Any
    by: Bent

    def run_pass(self, indices: Array) -> Any:
        return self.by.losses(self.honest.run_pass(indices))

    def evaluate(self, inputs: Array, labels: Array) -> Any:
        return self.honest.evaluate(inputs, labels)

    def weights(self, member: int) -> Any:
        return self.by.member(self.honest.weights(member))


def everywhere(value: Any, of: Weights) -> Weights:
    """The same names and shapes, with one value everywhere."""
    return {name: np.full(array.shape, value) for name, array in of.items()}


def constant(value: float) -> Bent:
    """Whatever it is asked, one value, in the right shapes."""

    def step(honest: Step) -> Step:
        shown = everywhere(value, honest.activations or {})
        gradients = everywhere(value, honest.gradients)
        return Step(loss=value, logits=np.full(honest.logits.shape, value), gradients=gradients, activations=shown)

    def fill(honest: Weights) -> Weights:
        return everywhere(value, honest)

    return Bent(
        step=step,
        logits=lambda logits: np.full(logits.shape, value),
        state=fill,
        shown=fill,
        member=fill,
        losses=lambda record: replace(record, losses=np.full(record.losses.shape, value)),
    )


def noisy(size: float) -> Bent:
    """Gradients with noise that is never the same, relative to each number of them."""
    rng = np.random.default_rng()

    def stir(arrays: Weights) -> Weights:
        return {name: array * (1 + size * rng.choice([-1.0, 1.0], array.shape)) for name, array in arrays.items()}

    return Bent(step=lambda step: replace(step, gradients=stir(step.gradients)))


class Frozen(Bent):
    """Shows what an update gives, and does not take it."""

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> "BentLearner":
        def forget(step: Step) -> Step:
            learner.honest = NumpyLearner(spec, start)
            return step

        start = cast_weights(weights, "float64")
        learner = BentLearner(NumpyLearner(spec, start), Bent(step=forget))
        return learner


def single() -> Bent:
    """Rounds all that it gives to float32."""

    def round_off(arrays: Weights) -> Weights:
        return cast_weights(arrays, "float32")

    return Bent(
        state=round_off,
        logits=np.float32,
        step=lambda step: replace(step, gradients=round_off(step.gradients), logits=np.float32(step.logits)),
    )


class Views(Bent):
    """Gives the same arrays again and again, and writes to them at every call."""

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: str) -> "BentLearner":
        buffers: Weights = {}

        def lend(arrays: Weights) -> Weights:
            for name, array in arrays.items():
                buffers.setdefault(name, np.empty(array.shape))[...] = array
            return buffers

        return BentLearner(NumpyLearner(spec, weights), Bent(state=lend))


# Factories that a child calls, and what it is asked: they do what must not reach the check.


def train_once(backend: Backend) -> list[str]:
    """A task: one update."""
    spec = ModelSpec(num_hidden_layers=1, input_dim=3, output_dim=2, hidden_width=4)
    learner = backend.learner(spec, draw_weights(spec, 0), "float64")
    learner.train_step(np.eye(3), np.array([0, 1, 0]), 0.1)
    return sorted(learner.weights())


def echo(backend: Backend, value: Any) -> Any:
    """A task: what it was given."""
    del backend
    return value


def leave_a_process(backend: Backend, folder: Path) -> None:
    """A task: start a process, note its number, and end without it."""
    del backend
    process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER})"])
    (folder / "PID").write_text(str(process.pid))
    os._exit(3)


def surroundings(backend: Backend) -> dict[str, Any]:
    """A task: what the process sees."""
    del backend
    return {"path": sys.path, "environment": dict(os.environ), "working_directory": str(Path.cwd()), "pid": os.getpid()}


def raises() -> Any:
    raise RuntimeError("no licence\nfor this machine")


def raises_at_length() -> Any:
    raise RuntimeError("no licence " * 100_000)


def exits() -> Any:
    sys.exit(0)


def interrupts() -> Any:
    raise KeyboardInterrupt


def dies() -> Any:
    os._exit(0)


def crashes() -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs() -> Any:
    time.sleep(FOREVER)


def honest() -> Bent:
    return Bent()


def minimal() -> Minimal:
    return Minimal()


def no_backend() -> Any:
    return {"learner": "none"}


def class_of_backend() -> Any:
    return Bent


def doing(action: Callable[[], Any]) -> Bent:
    """Does something in the midst of an update."""
    return Bent(given=lambda inputs, labels: action())


def raises_in_training() -> Bent:
    return doing(raises)


def raises_at_length_in_training() -> Bent:
    return doing(raises_at_length)


def exits_in_training() -> Bent:
    return doing(exits)


def interrupts_in_training() -> Bent:
    return doing(interrupts)


def dies_in_training() -> Bent:
    return doing(dies)


def crashes_in_training() -> Bent:
    return doing(crashes)


def hangs_in_training() -> Bent:
    return doing(hangs)


class Unreadable:
    """Comes out of its pickle as an error."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return raises, ()


class Missing:
    """Comes out of its pickle as an error of the system."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return open, ("/nowhere/at/all",)


def missing(backend: Backend) -> Missing:
    """A task: an answer that the other process cannot rebuild."""
    del backend
    return Missing()


def unsendable(backend: Backend) -> Callable[[], int]:
    """A task: an answer that no process can hand to another."""
    del backend
    return lambda: 1


def unreadable(backend: Backend) -> Unreadable:
    """A task: an answer that the other process cannot read."""
    del backend
    return Unreadable()


def chatters() -> Bent:
    """Reads its standard input to the end, and prints megabytes."""
    sys.stdin.read()
    return doing(lambda: print("chatter " * 200_000))


def settles() -> Bent:
    """Changes settings of its process."""
    os.environ["BNPARITY_SETTLED"] = "yes"
    sys.path.insert(0, "settled")
    np.seterr(all="raise")
    return Bent()


def starts_a_process() -> Bent:
    """Starts a process of its own, and hangs; both numbers come into the file PIDS of the working directory."""

    def start() -> None:
        other = subprocess.Popen(["sleep", str(FOREVER)])
        Path("PIDS").write_text(f"{os.getpid()} {other.pid}")
        hangs()

    return doing(start)
