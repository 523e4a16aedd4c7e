"""Many networks, trained at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parity.data.dropout import Masks, check_masks
from parity.errors import InputError
from parity.spec import ModelSpec, check_count
from parity.weights import Array, Weights


@dataclass(frozen=True, kw_only=True)
class PassRecord:
    """What one pass of a population showed.

    Args:
        losses: training loss before each update, shape (updates, members), in nats.
        finite: whether every weight and statistic was finite after the update, shape (updates, members).
    """

    losses: NDArray[np.floating]
    finite: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Results of a population in evaluation mode.

    Args:
        loss: mean cross entropy, shape (members,), in nats.
        accuracy: share classified correctly, shape (members,).
    """

    loss: NDArray[np.floating]
    accuracy: NDArray[np.floating]


class Population(Protocol):
    """Copies of one network, each trained at its own learning rate on the same minibatches.

    The data is uploaded once; a pass is one program on the device. In a backend with `lanes`, the members fall into
    equal runs, in order, each with its own minibatches. If the network has dropout, `run_pass` also gets the `masks` of
    all updates; members that share minibatches share their masks.
    """

    def run_pass(self, indices: NDArray[np.integer]) -> PassRecord:
        """Train every member on the minibatches `indices` of the training set.

        Their shape is (updates, batch) or (lanes, updates, batch).
        """
        ...

    def evaluate(self, inputs: Array, labels: NDArray[np.integer]) -> Evaluation:
        """Return every member's loss and accuracy in evaluation mode. The state stays as it is."""
        ...

    def weights(self, member: int) -> Weights:
        """Return the state of one member, by neutral name."""
        ...


def member_states(
    weights: Mapping[str, Array] | Sequence[Mapping[str, Array]], learning_rates: Sequence[float], lanes: int
) -> list[Mapping[str, Array]]:
    """Return the state in which each member of a population starts.

    Raises:
        InputError: there is not one state for each learning rate, or the lanes are not equal.
    """
    members = len(learning_rates)
    check_count("members", members, 1, "a population needs one")
    check_count("lanes", lanes, 1, "members train in one at least")
    if members % lanes:
        raise InputError(f"lanes must have the same number of members, got {members} members in {lanes} lanes")
    states = [weights] * members if isinstance(weights, Mapping) else list(weights)
    if len(states) != members:
        raise InputError(f"a population needs one state or one for each member, got {len(states)} for {members}")
    return states


def lane_batches(indices: NDArray[np.integer], lanes: int) -> NDArray[np.integer]:
    """Return the minibatches of each lane, shape (lanes, updates, batch).

    Raises:
        InputError: `indices` have neither that shape nor, for all lanes, the shape (updates, batch).
    """
    indices = np.asarray(indices)
    if indices.ndim == 2:
        indices = np.broadcast_to(indices, (lanes, *indices.shape))
    if indices.ndim != 3 or len(indices) != lanes:
        raise InputError(f"indices must have shape (updates, batch) or ({lanes}, updates, batch), got {indices.shape}")
    return indices


def lane_masks(masks: Masks | None, spec: ModelSpec, batches: NDArray[np.integer]) -> Masks | None:
    """Return the dropout masks of each lane, shape (lanes, updates, layers, batch, width); None without dropout.

    Args:
        masks: of that shape or, for all lanes, without the first axis.
        spec: the network.
        batches: indices as `lane_batches` returns them.

    Raises:
        InputError: the network has dropout, and these are not its masks.
    """
    if not spec.dropout_rate:
        return None
    if masks is not None and np.ndim(masks) == 4:
        masks = np.broadcast_to(np.asarray(masks), (len(batches), *np.shape(masks)))
    check_masks(spec, masks, batches.shape)
    return masks
