"""What the NumPy reference shows of an episode, and how far rounding moves it."""

from collections.abc import Sequence

import numpy as np

from parity.check.episode import Episode
from parity.check.play import Patterns, play
from parity.reference import NumpyBackend
from parity.reference.rounding import RoundingBackend
from parity.verdict.noise import DRAWS, Unit, Witness, measure_floors


def witness(
    reference: NumpyBackend, episode: Episode, unit: Unit, patterns: Patterns | None = None, draws: int = DRAWS
) -> Witness:
    """Play an episode on the reference, and measure its noise floor.

    Args:
        reference: honest, or with a fault.
        episode: what to play.
        unit: the rounding that is allowed.
        patterns: active units to impose on the reference and on its draws.
        draws: how many.
    """

    def draw(seed: int):
        rounding = RoundingBackend(reference, unit, np.random.default_rng([seed, len(episode.batches)]))
        return play(rounding, episode, "float64", patterns)  # pyright: ignore[reportArgumentType]

    trace = play(reference, episode, "float64", patterns)
    return measure_floors(trace, map(draw, range(draws)), unit.bits, episode.per_channel)


def witness_all(
    reference: NumpyBackend, episodes: Sequence[Episode], unit: Unit, patterns: Sequence[Patterns] | None = None
) -> list[Witness]:
    """Play one episode after the other; a network that blows up runs through inf and nan."""
    with np.errstate(all="ignore"):
        return [
            witness(reference, episode, unit, None if patterns is None else patterns[index])
            for index, episode in enumerate(episodes)
        ]
