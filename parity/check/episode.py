"""What a side is asked to compute: the unit that every question of the check is made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.data import Masks
from parity.spec import ModelSpec
from parity.verdict.trace import Key
from parity.weights import Array, Weights


@dataclass(frozen=True)
class Evaluation:
    """An evaluation in the course of an episode.

    Args:
        inputs: shape (samples, input_dim).
        after: the number of updates before it.
    """

    inputs: Array
    after: int = 1


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A state, updates from it, and evaluations before, between and after these.

    Args:
        step: the update of the trajectory at which it starts, or "probe:NAME".
        spec: the network.
        weights: the state that every side is handed, by neutral name, in float64.
        batches: (inputs, labels) of each update. In updates after the first each side goes on from its own state.
        masks: of dropout, for each update; None for a network without.
        learning_rates: of plain SGD, for each update; of a population, for each member.
        evaluations: in the order in which they are made.
        per_channel: whether each channel has a limit of its own: a planted channel must not hide in the others.
        has_bystander: whether a second learner of the side is trained at the same time, on other batches.
        expects_refusal: whether training on the batch must be refused.
        is_population: whether many members are trained on the batches at once, in place of a lone network.
    """

    step: int | str
    spec: ModelSpec
    weights: Weights
    batches: tuple[tuple[Array, NDArray[np.integer]], ...] = ()
    masks: tuple[Masks | None, ...] = ()
    learning_rates: tuple[float, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    per_channel: bool = False
    has_bystander: bool = False
    expects_refusal: bool = False
    is_population: bool = False

    def label(self, key: Key) -> int | str:
        """Return the step of a key for people: updates of a carried window are counted along the trajectory."""
        return self.step + key.step if isinstance(self.step, int) else self.step
