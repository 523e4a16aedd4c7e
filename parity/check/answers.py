"""A side's learner, held to its protocol: it answers in the right shapes, and writes to nothing of ours."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Learner, Step
from parity.process import SideError
from parity.spec import ModelSpec
from parity.weights import Array, Weights, activation_names, is_statistic, weight_shapes


class CheckedLearner:
    """A `parity.backend.Learner` whose answers are checked, and whose inputs are copies.

    Its methods raise `SideError` where an answer does not fit the network.
    """

    def __init__(self, learner: Learner, spec: ModelSpec) -> None:
        self._learner, self._spec = learner, spec

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, **imposed: Any) -> Step:
        """Take one SGD update in train mode."""
        given = inputs.copy(), labels.copy()
        step = self._learner.train_step(*given, learning_rate, **imposed)
        check_unwritten(given, (inputs, labels))
        check_step(step, self._spec, len(inputs))
        return step

    def evaluate(self, inputs: Array, **imposed: Any) -> Array:
        """Return logits in evaluation mode."""
        given = inputs.copy()
        logits = self._learner.evaluate(given, **imposed)
        check_unwritten([given], [inputs])
        check_shapes("evaluate", {"logits": logits}, {"logits": (len(inputs), self._spec.output_dim)})
        return logits

    def activations(self, inputs: Array, **imposed: Any) -> Weights | None:
        """Return what each part of each hidden layer gives in evaluation mode; None if the side does not show it."""
        given = inputs.copy()
        activations = self._learner.activations(given, **imposed)
        check_unwritten([given], [inputs])
        if activations is not None:
            check_activations(activations, self._spec, len(inputs))
        return activations

    def weights(self) -> Weights:
        """Return the state."""
        weights = self._learner.weights()
        check_shapes("weights", weights, weight_shapes(self._spec))
        return weights


def check_step(step: Any, spec: ModelSpec, batch: int) -> None:
    """Check what `train_step` returned for a batch of that many samples.

    Raises:
        SideError: it is no `parity.Step` of the network.
    """
    for name in ("loss", "logits", "gradients"):
        if not hasattr(step, name):
            raise SideError(f"train_step returned {type(step).__name__} without {name!r}; it must be a parity.Step")
    shapes = {name: shape for name, shape in weight_shapes(spec).items() if not is_statistic(name)}
    check_shapes("gradients", step.gradients, shapes)
    shown = {"loss": step.loss, "logits": step.logits}
    check_shapes("train_step", shown, {"loss": (), "logits": (batch, spec.output_dim)})
    if getattr(step, "activations", None) is not None:
        check_activations(step.activations, spec, batch)


def check_activations(activations: Any, spec: ModelSpec, batch: int) -> None:
    """Check the activations of that many samples.

    Raises:
        SideError: they do not fit the network.
    """
    check_shapes("activations", activations, dict.fromkeys(activation_names(spec), (batch, spec.hidden_width)))


def check_shapes(what: str, found: Any, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Check names, shapes and dtypes of arrays.

    Raises:
        SideError: lists everything missing, unexpected, misshapen, or no real number.
    """
    if not isinstance(found, Mapping):
        raise SideError(f"{what} must be a dict of arrays by neutral name, got {type(found).__name__}")
    problems = [f"missing {name}" for name in expected if name not in found]
    problems += [f"unexpected {name}" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        array = np.asarray(found[name])
        if array.shape != expected[name]:
            problems.append(f"{name} has shape {array.shape} instead of {expected[name]}")
        elif array.dtype.kind not in "fiu":
            problems.append(f"{name} has dtype {array.dtype}, which is no real number")
    if problems:
        raise SideError(f"{what} do not fit the network: {'; '.join(sorted(problems))}")


def check_unwritten(given: Iterable[NDArray], kept: Iterable[NDArray]) -> None:
    """Check that arrays which a side was given are what they were.

    Raises:
        SideError: one is not.
    """
    if not all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(given, kept, strict=True)):
        raise SideError("it wrote into the inputs that it was given; a side must copy what it is given")
