"""The semantic and the precision question: both sides step from the same states, and every tensor is compared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np

from parity.check.episode import Episode
from parity.check.play import play
from parity.check.records import Measurement, Question, Setting
from parity.check.witness import witness_all, witness_roles
from parity.process import Side, SideError
from parity.spec import DType
from parity.verdict.active_units import can_switch, compare_active_units
from parity.verdict.compare import SAFETY, Distance, compare, drowned_tensors
from parity.verdict.noise import Witness, rms, unit_of
from parity.verdict.trace import Array, Key, Kind, Mode, Trace

CANDIDATE, REFERENCE, WITNESS = "candidate", "reference", "witness"


@dataclass(frozen=True)
class Comparison:
    """What lockstep found in one configuration.

    Args:
        setting: the configuration.
        question: semantic or precision.
        episodes: what was asked.
        traces: what each role showed, by role, episode by episode.
        witnesses: of each role; the precision question has one for each pattern of active units.
        measurements: in causal order.
        not_compared: what could not be compared, and why.
        unrepeatable: the roles that gave two answers to one question.
    """

    setting: Setting
    question: Question
    episodes: Sequence[Episode]
    traces: Mapping[str, Sequence[Trace]]
    witnesses: Mapping[str, Sequence[Witness]]
    measurements: Sequence[Measurement]
    not_compared: frozenset[str]
    unrepeatable: frozenset[str]


class RoleError(Exception):
    """A side misbehaved; `role` says which."""

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


def play_both(sides: Mapping[str, Side], episodes: Sequence[Episode], dtype: DType) -> dict[str, list[Trace]]:
    """Have both sides compute at once, as `play_all` does; each episode is an answer with a time limit of its own.

    Raises:
        RoleError: one of them misbehaved; the candidate's is told first.
    """

    def play_every(side: Side) -> list[Trace]:
        return [side.call(play, episode, dtype) for episode in (*episodes, episodes[0])]

    with ThreadPoolExecutor(len(sides)) as pool:
        futures = {role: pool.submit(play_every, side) for role, side in sides.items()}
        for role, future in futures.items():
            error = future.exception()
            if isinstance(error, SideError):
                raise RoleError(role, f"the {role} {sides[role].name} {error}")
        return {role: future.result() for role, future in futures.items()}


def semantic(sides: Mapping[str, Side], third: Side, setting: Setting, episodes: Sequence[Episode]) -> Comparison:
    """Compare in float64: candidate against reference, and both against the witness.

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
        traces = playing.result()
    return compare_semantic(setting, episodes, traces, witnesses)


def compare_semantic(
    setting: Setting,
    episodes: Sequence[Episode],
    traces: Mapping[str, Sequence[Trace]],
    witnesses: Sequence[Witness],
) -> Comparison:
    """Hold every trace against the witness, and the candidate's against the reference's."""
    measurements: list[Measurement] = []
    missing = _absent(traces)
    pairs = [(role, WITNESS) for role in traces]
    pairs[1:1] = [(CANDIDATE, REFERENCE)] if len(traces) > 1 else []
    for index, (episode, seen) in enumerate(zip(episodes, witnesses, strict=True)):
        drowned = drowned_tensors(seen)
        if submerged := sum(key.step == 0 for key in drowned):
            missing.add(_drowned_words(setting, episode, submerged))
        shown = {role: played[index] for role, played in traces.items()} | {WITNESS: seen.trace}
        found = [
            measure(
                Question.SEMANTIC, setting, episode, pair,
                compare(shown[pair[0]], shown[pair[1]], seen.floors, episode.per_channel, drowned),
            )
            for pair in pairs
        ]  # fmt: skip
        # Causal order first: the same tensor of every pair stands together.
        measurements += sorted((m for part in found for m in part), key=lambda m: m.order)
    return Comparison(
        setting=setting,
        question=Question.SEMANTIC,
        episodes=episodes,
        traces=traces,
        witnesses=dict.fromkeys(traces, witnesses),
        measurements=measurements,
        not_compared=frozenset(missing),
        unrepeatable=_unrepeatable(episodes[0], traces, dict.fromkeys(traces, witnesses)),
    )


def measure(
    question: Question, setting: Setting, episode: Episode, pair: tuple[str, str], found: Iterable[Distance]
) -> Iterator[Measurement]:
    """Turn distances within an episode into records of the check."""
    for distance in found:
        place = {"question": question, "setting": setting, "pair": pair, "step": episode.label(distance.key)}
        yield Measurement(**vars(distance), **place)


def precision(
    sides: Mapping[str, Side], third: Side, setting: Setting, episodes: Sequence[Episode], dtype: DType, matmul: str
) -> Comparison:
    """Compare each side in the working dtype against float64 at the side's own pattern of active units.

    A unit whose pre-activation is within rounding of 0 may be active on one side and not on the other, and then all
    that follows differs by far more than rounding. So the witness and its draws take the side's pattern, and the
    pattern is judged by itself: a unit may differ only where the witness's own pre-activation lies within its limit
    of 0. Of a side that does not show its activations the pattern is known where no unit lies that near to 0;
    elsewhere what jumps there (`jumps`) is held only to be finite.

    Raises:
        RoleError: a side misbehaved.
    """
    traces = play_both(sides, episodes, dtype)
    patterns = {role: [found.patterns for found in played] for role, played in traces.items()}
    witnesses = third.call(witness_roles, episodes, unit_of(dtype, matmul), patterns)
    return compare_precision(setting, episodes, traces, witnesses)


def compare_precision(
    setting: Setting,
    episodes: Sequence[Episode],
    traces: Mapping[str, Sequence[Trace]],
    witnesses: Mapping[str, Sequence[Witness]],
) -> Comparison:
    """Hold every trace against the witness at its own pattern, and its pattern against the witness's."""
    measurements: list[Measurement] = []
    missing = _absent(traces)
    for index, episode in enumerate(episodes):
        found: list[Measurement] = []
        for role, played in traces.items():
            shown, seen = played[index], witnesses[role][index]
            drowned = drowned_tensors(seen)
            if drowned:
                missing.add(_drowned_words(setting, episode, len(drowned)))
            distances: Iterable[Distance] = compare(shown, seen.trace, seen.floors, episode.per_channel, drowned)
            unsure = unsure_update(episode, shown, seen)
            if unsure is not None:
                missing.add(
                    f"{setting}, {_step_words(episode)}: the {role} does not show its activations, and rounding alone "
                    "could switch a ReLU, so gradients and what follows from them are held only to be finite"
                )
                distances = (d for d in distances if np.isinf(d.distance) or not jumps(episode, d.key, unsure))
            units = _active_units(episode, shown, seen, drowned)
            found += measure(Question.PRECISION, setting, episode, (role, WITNESS), (*distances, *units))
        measurements += sorted(found, key=lambda m: m.order)
    return Comparison(
        setting=setting,
        question=Question.PRECISION,
        episodes=episodes,
        traces=traces,
        witnesses=witnesses,
        measurements=measurements,
        not_compared=frozenset(missing),
        unrepeatable=_unrepeatable(episodes[0], traces, witnesses),
    )


def _active_units(episode: Episode, shown: Trace, seen: Witness, drowned: frozenset[Key]) -> Iterator[Distance]:
    orders = {key: order for order, key in enumerate(seen.floors)}
    for (mode, number), pattern in shown.patterns.items():
        for name, active in pattern.items():
            key = _given_to_relu(episode, mode, number, name)
            if key in seen.trace.tensors and key not in drowned:
                yield compare_active_units(seen, key, active, orders[key])


def _given_to_relu(episode: Episode, mode: Mode, number: int, relu: str) -> Key:
    spec = episode.spec
    leaf = "norm" if spec.block_order == "norm_first" and spec.use_batch_norm else "linear"
    path = f"{relu.rpartition('.')[0]}.{leaf}"
    if mode is Mode.TRAIN:
        return Key(number, mode, Kind.ACTIVATION, path)
    return Key(max(episode.evaluations[number].after - 1, 0), mode, Kind.ACTIVATION, path, number)


def unsure_update(episode: Episode, shown: Trace, seen: Witness) -> int | None:
    """Return the first update with active units that a side does not show and rounding can switch, or None."""
    for update in range(len(episode.batches)):
        if (Mode.TRAIN, update) in shown.patterns:
            continue
        relus = [f"hidden.{i}.relu" for i in range(episode.spec.num_hidden_layers)]
        keys = [_given_to_relu(episode, Mode.TRAIN, update, relu) for relu in relus]
        if can_switch(seen, (key for key in keys if key in seen.trace.tensors)):
            return update
    return None


def jumps(episode: Episode, key: Key, update: int) -> bool:
    """Return whether a tensor jumps where a unit of an update switches: its gradients, and all that follows from them.

    Increments follow from the side's own gradients, and so are small however it jumps.
    """
    if key.kind in (Kind.INCREMENT, Kind.SIDE_EFFECT, Kind.LOADED):
        return False
    if key.mode is Mode.EVALUATION:
        return episode.evaluations[key.number].after > update
    return key.step > update or (key.step == update and key.kind in (Kind.GRADIENT, Kind.UPDATED))


def has_vanished(found: Comparison) -> bool:
    """Return whether the reference's own signal is gone on the first natural step: then everything agrees.

    That is asked in float64; in a coarser dtype a deep network's gradient may be drowned, and is then left out.
    """
    if found.question is not Question.SEMANTIC:
        return False
    seen = next(iter(found.witnesses.values()))[0]
    key = Key(0, Mode.TRAIN, Kind.GRADIENT, "hidden.0.kernel")
    return key in seen.floors and not rms(seen.trace.tensors[key]) > SAFETY * float(np.max(seen.floors[key]))


def _absent(traces: Mapping[str, Sequence[Trace]]) -> set[str]:
    shown = ((role, trace) for role, played in traces.items() for trace in played)
    return {f"the {role} does not show {what}" for role, trace in shown for what in trace.absent}


def _drowned_words(setting: Setting, episode: Episode, count: int) -> str:
    return f"{setting}, {_step_words(episode)}: {count} tensors are pure rounding noise or overflow, and not compared"


def _step_words(episode: Episode) -> str:
    return episode.step if isinstance(episode.step, str) else f"step {episode.step}"


def _unrepeatable(
    first: Episode, traces: Mapping[str, Sequence[Trace]], witnesses: Mapping[str, Sequence[Witness]]
) -> frozenset[str]:
    return frozenset(role for role, played in traces.items() if _differs(first, played, witnesses[role][0]))


def _differs(episode: Episode, traces: Sequence[Trace], seen: Witness) -> bool:
    """Whether the first episode, played again, was further from itself than the limit."""
    first, again = traces[0], traces[-1]
    if first.tensors.keys() != again.tensors.keys():
        return True
    # Rounding may switch a unit from one time to the next; what jumps then says nothing.
    switched = unsure_update(episode, first, seen) is not None or any(
        not np.array_equal(active, again.patterns[place][name])
        for place, pattern in first.patterns.items()
        for name, active in pattern.items()
    )

    def apart(key: Key, floor: Array) -> bool:
        if switched and jumps(episode, key, 0):
            return False
        a, b = first.tensors[key], again.tensors[key]
        if np.array_equal(a, b, equal_nan=True) or not np.isfinite(np.max(floor)):
            return False
        return not bool(np.all(rms(a - b) <= SAFETY * np.max(floor)))

    with np.errstate(all="ignore"):
        return any(apart(key, floor) for key, floor in seen.floors.items() if key in first.tensors)
