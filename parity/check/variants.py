"""Honest variants: each computes the same in another way. Any backend has these; a framework's own are `variants()`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import BackendAdapter, Learner, Step, as_learner
from parity.data import Masks
from parity.spec import DType, ModelSpec
from parity.weights import Array, Weights

TWO_THREADS = "two_threads"  # made by the one that starts the process
VARIANTS = ("as_it_is", "another_summation_order", TWO_THREADS)


def with_variant(backend: Any, name: str) -> Any:
    """A backend that computes the same in another way."""
    if name in ("as_it_is", TWO_THREADS):
        return backend
    if name == "another_summation_order":
        return _Reordered(backend)
    return backend.variants()[name](backend)


class _Reordered(BackendAdapter):
    """Every batch is taken in reverse, so that each sum over it runs the other way."""

    def learner(self, spec: ModelSpec, weights: Mapping[str, Array], dtype: DType) -> Learner:
        """A network whose batches are reversed on the way in, and what it shows on the way out."""
        return as_learner(_ReorderedLearner(super().learner(spec, weights, dtype)))


class _ReorderedLearner:
    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def train_step(self, inputs: Array, labels: NDArray[np.integer], learning_rate: float, **masks: Masks) -> Step:
        masks = {name: array[:, ::-1] for name, array in masks.items()}
        step = self._learner.train_step(inputs[::-1].copy(), labels[::-1].copy(), learning_rate, **masks)
        activations = {name: array[::-1] for name, array in (step.activations or {}).items()}
        return replace(step, logits=step.logits[::-1], activations=activations)

    def evaluate(self, inputs: Array) -> Array:
        return self._learner.evaluate(inputs[::-1].copy())[::-1]

    def activations(self, inputs: Array) -> Weights | None:
        shown = self._learner.activations(inputs[::-1].copy())
        return None if shown is None else {name: array[::-1] for name, array in shown.items()}

    def weights(self) -> Weights:
        return self._learner.weights()
