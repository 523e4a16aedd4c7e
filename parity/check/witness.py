"""What the NumPy reference shows of an episode, and how far rounding moves it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from parity.check.episode import Episode
from parity.check.play import Patterns, play, record
from parity.check.play_population import play_population
from parity.reference import NumpyBackend
from parity.reference.rounding import RoundingBackend
from parity.verdict.noise import DRAWS, Unit, Witness, measure_floors
from parity.verdict.trace import Trace


def play_reference(reference: NumpyBackend, episode: Episode, patterns: Patterns | None = None) -> Trace:
    """Play an episode on the reference, whose learners share nothing.

    Raises:
        SideError, InputError: as `play`; with a fault it may refuse.
    """
    return play(reference, replace(episode, has_bystander=False), "float64", patterns)


def witness(
    reference: NumpyBackend, episode: Episode, unit: Unit, patterns: Patterns | None = None, draws: int | None = None
) -> Witness:
    """Play an episode on the reference, and measure its noise floor.

    Args:
        reference: honest, or with a fault.
        episode: what to play.
        unit: the rounding that is allowed.
        patterns: active units to impose on the reference and on its draws.
        draws: how many; None for `draws_of` the episode.
    """
    trace = play_reference(reference, episode, patterns)
    if episode.expects_refusal:
        return Witness(trace, dict.fromkeys(trace.tensors, np.zeros(())))
    draws = draws or draws_of(episode)
    rngs = [np.random.default_rng([seed, len(episode.batches)]) for seed in range(draws)]
    backends = [RoundingBackend(reference, unit, rng) for rng in rngs]
    if episode.is_population:
        moved = [play_population(backend, episode, episode.weights, "float64") for backend in backends]
    else:
        learner = backends[0].learners(episode.spec, episode.weights, draws)
        moved = [record(learner, episode, patterns or {})]
    return measure_floors(trace, moved, unit.bits, episode.per_channel)


def draws_of(episode: Episode) -> int:
    """Return how many draws measure an episode's noise: `DRAWS`, and up to four times as many for a small batch.

    After batch norm a channel of `n` samples has `n - 1` numbers of its own. Where these are few, the largest of eight
    draws may by chance be far smaller than usual.
    """
    smallest = min((len(labels) for _, labels in episode.batches), default=DRAWS)
    return max(DRAWS, -(-4 * DRAWS // max(smallest - 1, 1)))


def witness_all(
    reference: NumpyBackend, episodes: Sequence[Episode], unit: Unit, patterns: Sequence[Patterns] | None = None
) -> list[Witness]:
    """Play one episode after the other; a network that blows up runs through inf and nan."""
    return witness_roles(reference, episodes, unit, {"": patterns or [{}] * len(episodes)})[""]


def witness_roles(
    reference: NumpyBackend, episodes: Sequence[Episode], unit: Unit, patterns: Mapping[str, Sequence[Patterns]]
) -> dict[str, list[Witness]]:
    """Play every episode at the active units of each role; roles with the same ones share a witness."""
    found: dict[str, list[Witness]] = {role: [] for role in patterns}
    with np.errstate(all="ignore"):
        for index, episode in enumerate(episodes):
            known: list[tuple[Patterns, Witness]] = []
            for role, given in patterns.items():
                seen = next((seen for own, seen in known if _are_same(own, given[index])), None)
                if seen is None:
                    seen = witness(reference, episode, unit, given[index])
                    known.append((given[index], seen))
                found[role].append(seen)
    return found


def _are_same(some: Patterns, others: Patterns) -> bool:
    return some.keys() == others.keys() and all(
        np.array_equal(active, others[place][name]) for place, own in some.items() for name, active in own.items()
    )
