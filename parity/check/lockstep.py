"""The semantic and the precision question: both sides step from the same states, and every tensor is compared."""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from parity.check.compare import SAFETY, compare, drowned_tensors
from parity.check.episode import Episode, Key, Recording, play
from parity.check.noise import Witness, rms, unit_of, witness_all
from parity.check.records import Measurement, Question, Setting
from parity.process import Side, SideError
from parity.spec import DType
from parity.weights import Array

CANDIDATE, REFERENCE, WITNESS = "candidate", "reference", "witness"


@dataclass(frozen=True)
class Comparison:
    """What lockstep found in one configuration.

    Args:
        setting: the configuration.
        question: semantic or precision.
        episodes: what was asked.
        recordings: what each role showed, by role, episode by episode.
        witnesses: of each role; the precision question has one for each pattern of active units.
        measurements: in causal order.
        not_compared: what could not be compared, and why.
        unrepeatable: the roles that gave two answers to one question.
    """

    setting: Setting
    question: Question
    episodes: Sequence[Episode]
    recordings: Mapping[str, Sequence[Recording]]
    witnesses: Mapping[str, Sequence[Witness]]
    measurements: Sequence[Measurement]
    not_compared: frozenset[str]
    unrepeatable: frozenset[str]


class RoleError(Exception):
    """A side misbehaved; `role` says which."""

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


def play_both(sides: Mapping[str, Side], episodes: Sequence[Episode], dtype: DType) -> dict[str, list[Recording]]:
    """Have both sides compute at once, as `play_all` does; each episode is an answer with a time limit of its own.

    Raises:
        RoleError: one of them misbehaved; the candidate's is told first.
    """

    def play_every(side: Side) -> list[Recording]:
        return [side.call(play, episode, dtype) for episode in (*episodes, episodes[0])]

    with ThreadPoolExecutor(len(sides)) as pool:
        futures = {role: pool.submit(play_every, side) for role, side in sides.items()}
        for role, future in futures.items():
            error = future.exception()
            if isinstance(error, SideError):
                raise RoleError(role, f"the {role} {sides[role].name} {error}")
        return {role: future.result() for role, future in futures.items()}


def semantic(sides: Mapping[str, Side], third: Side, setting: Setting, episodes: Sequence[Episode]) -> Comparison:
    """Float64: candidate against reference, and both against the witness.

    Args:
        sides: by role; the candidate first.
        third: the NumPy reference.
        setting: the configuration.
        episodes: natural steps, then probes.

    Raises:
        RoleError: a side misbehaved.
    """
    with ThreadPoolExecutor(1) as pool:  # the witness computes while the sides do
        playing = pool.submit(play_both, sides, episodes, cast(DType, setting.dtype))
        witnesses: list[Witness] = third.call(witness_all, episodes, unit_of("float64"))
        recordings = playing.result()
    return compare_semantic(setting, episodes, recordings, witnesses)


def compare_semantic(
    setting: Setting,
    episodes: Sequence[Episode],
    recordings: Mapping[str, Sequence[Recording]],
    witnesses: Sequence[Witness],
) -> Comparison:
    """Hold every recording against the witness, and the candidate's against the reference's."""
    measurements: list[Measurement] = []
    missing = _absent(recordings)
    pairs = [(role, WITNESS) for role in recordings]
    pairs[1:1] = [(CANDIDATE, REFERENCE)] if len(recordings) > 1 else []
    for index, (episode, seen) in enumerate(zip(episodes, witnesses, strict=True)):
        drowned = drowned_tensors(episode, seen)
        if submerged := sum(key.update == 0 for key in drowned):
            missing.add(_drowned_words(setting, episode, submerged))
        shown = {role: played[index] for role, played in recordings.items()} | {WITNESS: seen.recording}
        found = [
            compare(Question.SEMANTIC, setting, episode, pair, shown[pair[0]], shown[pair[1]], seen.floors, drowned)
            for pair in pairs
        ]
        # Causal order first: the same tensor of every pair stands together.
        measurements += sorted((m for part in found for m in part), key=lambda m: m.order)
    return Comparison(
        setting,
        Question.SEMANTIC,
        episodes,
        recordings,
        dict.fromkeys(recordings, witnesses),
        measurements,
        frozenset(missing),
        frozenset(role for role, played in recordings.items() if _differs(played, witnesses[0])),
    )


def precision(
    sides: Mapping[str, Side], third: Side, setting: Setting, episodes: Sequence[Episode], dtype: DType, matmul: str
) -> Comparison:
    """The working dtype: each side against float64 at the side's own pattern of active units.

    A unit whose pre-activation is within rounding of 0 may be active on one side and not on the other, and then all
    that follows differs by far more than rounding. So the witness and its draws take the side's pattern, and the
    pattern is judged by itself: a unit may differ only where the witness's own pre-activation lies within its limit
    of 0. Of a side that does not show its activations the pattern is known where no unit lies that near to 0;
    elsewhere it is held only to be finite.

    Raises:
        RoleError: a side misbehaved.
    """
    recordings = play_both(sides, episodes, dtype)
    witnesses = {
        role: third.call(witness_all, episodes, unit_of(dtype, matmul), [found.patterns for found in played])
        for role, played in recordings.items()
    }
    return compare_precision(setting, episodes, recordings, witnesses)


def compare_precision(
    setting: Setting,
    episodes: Sequence[Episode],
    recordings: Mapping[str, Sequence[Recording]],
    witnesses: Mapping[str, Sequence[Witness]],
) -> Comparison:
    """Hold every recording against the witness at its own pattern, and its pattern against the witness's."""
    measurements: list[Measurement] = []
    missing: set[str] = set()
    for index, episode in enumerate(episodes):
        found: list[Measurement] = []
        for role, played in recordings.items():
            shown, seen = played[index], witnesses[role][index]
            drowned = drowned_tensors(episode, seen)
            if drowned:
                missing.add(_drowned_words(setting, episode, len(drowned)))
            pair = role, WITNESS
            every = compare(Question.PRECISION, setting, episode, pair, shown, seen.recording, seen.floors, drowned)
            unknown = unknown_pattern(episode, shown, seen)
            if unknown is not None:
                missing.add(
                    f"{setting}, {_step_words(episode)}: the {role} does not show its {unknown}activations, and "
                    "rounding alone could switch a ReLU, so what follows from them is held only to be finite"
                )
                every = (m for m in every if math.isinf(m.distance) or not m.tensor.startswith(unknown))
            found += every
            found += compare_patterns(setting, episode, pair, shown, seen, drowned)
        measurements += sorted(found, key=lambda m: m.order)
    return Comparison(
        setting, Question.PRECISION, episodes, recordings, witnesses, measurements, frozenset(missing), frozenset()
    )


def compare_patterns(
    setting: Setting,
    episode: Episode,
    pair: tuple[str, str],
    actual: Recording,
    seen: Witness,
    drowned: frozenset[Key],
) -> Iterator[Measurement]:
    """The units that are active on one side only: how far from 0 the witness's pre-activation is, in noise floors."""
    orders = {key: order for order, key in enumerate(seen.floors)}
    given = _given_to_relu(episode)
    for (mode, number), pattern in actual.patterns.items():
        for name, active in pattern.items():
            layer = int(name.split(".")[1])
            word = given if mode == "train" else f"evaluated {given}{f' {number + 1}' if number else ''}"
            key = Key(number if mode == "train" else 0, layer, word)
            if key not in seen.recording.tensors or key in drowned:
                continue
            z = seen.recording.tensors[key]
            flipped = np.where(active != (z > 0), np.abs(z), 0.0)
            yield _pattern_measurement(setting, episode, pair, key, orders[key], flipped, seen.floors[key], z)


def unknown_pattern(episode: Episode, shown: Recording, seen: Witness) -> str | None:
    """How the names begin of the tensors that follow from ReLUs which a side does not show and rounding can switch.

    None where there are none: the side shows its ReLUs, or every unit of the witness is further from 0 than its limit,
    so that no honest side can differ in one.
    """
    modes = {mode for mode, _ in shown.patterns}
    for mode, prefix in (("train", ""), ("eval", "evaluated ")):
        if mode not in modes and not _is_sure(seen, prefix + _given_to_relu(episode)):
            return prefix
    return None


def _is_sure(seen: Witness, given: str) -> bool:
    return all(
        bool(np.all(np.abs(array) > SAFETY * np.max(seen.floors[key])))
        for key, array in seen.recording.tensors.items()
        if key.tensor.startswith(given)
    )


def _given_to_relu(episode: Episode) -> str:
    normed_first = episode.spec.block_order == "norm_first" and episode.spec.use_batch_norm
    return "norm output" if normed_first else "pre-activation"


def _pattern_measurement(
    setting: Setting,
    episode: Episode,
    pair: tuple[str, str],
    key: Key,
    order: int,
    flipped: Array,
    floor: NDArray,
    z: Array,
) -> Measurement:
    distance, lowest = float(flipped.max(initial=0.0)), float(np.max(floor))
    return Measurement(
        question=Question.PRECISION,
        setting=setting,
        pair=pair,
        step=episode.label(key),
        layer=key.layer,
        tensor="active units" if "evaluated" not in key.tensor else "evaluated active units",
        order=order,
        distance=distance,
        floor=lowest,
        size=float(rms(z)),
        times_noise=distance / lowest if lowest else (0.0 if not distance else np.inf),
        shared=False,
    )


def has_vanished(found: Comparison) -> bool:
    """Whether the reference's own signal is gone on the first natural step: then everything agrees with everything.

    That is asked in float64; in a coarser dtype a deep network's gradient may be drowned, and is then left out.
    """
    if found.question is not Question.SEMANTIC:
        return False
    seen = next(iter(found.witnesses.values()))[0]
    key = Key(0, 0, "gradient of kernel")
    return key in seen.floors and not rms(seen.recording.tensors[key]) > SAFETY * float(np.max(seen.floors[key]))


def _absent(recordings: Mapping[str, Sequence[Recording]]) -> set[str]:
    return {
        f"the {role} does not show {what}"
        for role, found in recordings.items()
        for recording in found
        for what in recording.absent
    }


def _drowned_words(setting: Setting, episode: Episode, count: int) -> str:
    return f"{setting}, {_step_words(episode)}: {count} tensors, of which rounding alone can make anything"


def _step_words(episode: Episode) -> str:
    return episode.step if isinstance(episode.step, str) else f"step {episode.step}"


def _differs(recordings: Sequence[Recording], seen: Witness) -> bool:
    """Whether the first episode, played again, was further from itself than the limit."""
    first, again = recordings[0].tensors, recordings[-1].tensors
    if first.keys() != again.keys():
        return True

    def apart(key: Key, floor: Array) -> bool:
        if np.array_equal(first[key], again[key], equal_nan=True) or not np.isfinite(np.max(floor)):
            return False
        return not bool(np.all(rms(first[key] - again[key]) <= SAFETY * np.max(floor)))

    with np.errstate(all="ignore"):
        return any(apart(key, floor) for key, floor in seen.floors.items() if key in first)
