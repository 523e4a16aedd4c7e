"""The semantic and the precision question: both sides step from the same states, and every tensor is compared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from threading import Event

import numpy as np

from parity.check.episode import Episode
from parity.check.play import play
from parity.check.records import CANDIDATE, REFERENCE, WITNESS, Measurement, Question, Setting
from parity.check.witness import witness_all, witness_roles
from parity.process import Side, SideError
from parity.verdict.active_units import can_switch, compare_active_units
from parity.verdict.compare import SAFETY, Distance, compare, drowned_channels, drowned_tensors
from parity.verdict.noise import Witness, rms, unit_of
from parity.verdict.trace import Array, Key, Kind, Mode, Trace


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


@dataclass(frozen=True)
class Asked:
    """What sides are asked in one configuration.

    Args:
        question: semantic or precision.
        setting: the configuration, with the working dtype.
        episodes: natural steps, then probes.
        sides: by role; the candidate first.
    """

    question: Question
    setting: Setting
    episodes: Sequence[Episode]
    sides: Mapping[str, Side]


def ask_all(asked: Iterable[Asked], third: Side, matmul: str) -> Iterator[Comparison]:
    """Have sides compute, each episode as an answer with a time limit of its own, and compare what they show.

    In float64 the candidate is held against the reference, and both against the witness. In a narrower dtype each side
    is held against float64 at the side's own pattern of active units: a unit whose pre-activation is within rounding of
    0 may be active on one side and not on the other, and then all that follows differs by far more than rounding. So
    the witness and its draws take the side's pattern, and the pattern is judged by itself. Of a side that does not show
    its activations the pattern is known where no unit lies that near to 0; elsewhere what jumps there (`jumps`) is held
    only to be finite.

    The sides are one configuration ahead of the one that is compared, since that takes as long.

    Args:
        asked: the configurations.
        third: the NumPy reference.
        matmul: precision of float32 matrix products.

    Raises:
        RoleError: a side misbehaved; the candidate's error is told first.
    """
    pools: dict[str, ThreadPoolExecutor] = {}
    stopped = Event()

    def play_every(side: Side, one: Asked) -> list[Trace]:
        every = (*one.episodes, one.episodes[0])  # the first again: it must say the same
        return [side.call(play, episode, one.setting.dtype) for episode in every if not stopped.is_set()]

    def begin(role: str, side: Side, one: Asked) -> "Future[list[Trace]]":
        return pools.setdefault(role, ThreadPoolExecutor(1)).submit(play_every, side, one)

    begun: list[tuple[Asked, Playing]] = []
    try:
        for one in asked:
            begun.append((one, {role: begin(role, side, one) for role, side in one.sides.items()}))
            if len(begun) > 1:
                yield _finish(*begun.pop(0), third, matmul)
        for one, playing in begun:
            yield _finish(one, playing, third, matmul)
    finally:
        stopped.set()
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


Playing = Mapping[str, "Future[list[Trace]]"]


def _finish(asked: Asked, playing: Playing, third: Side, matmul: str) -> Comparison:
    episodes, unit = asked.episodes, unit_of(asked.setting.dtype, matmul)
    witnesses: Mapping[str, Sequence[Witness]] = {}
    if asked.question is Question.SEMANTIC:  # the witness computes while the sides do
        seen: list[Witness] = third.call(witness_all, episodes, unit)
        witnesses = dict.fromkeys(playing, seen)
    traces = {}
    for role, future in playing.items():
        try:
            traces[role] = future.result()
        except SideError as error:
            raise RoleError(role, f"the {role} {asked.sides[role].name} {error}") from error
    if not witnesses:
        patterns = {role: [shown.patterns for shown in played] for role, played in traces.items()}
        witnesses = third.call(witness_roles, episodes, unit, patterns)
    return compare_lockstep(asked.question, asked.setting, episodes, traces, witnesses)


def compare_lockstep(
    question: Question,
    setting: Setting,
    episodes: Sequence[Episode],
    traces: Mapping[str, Sequence[Trace]],
    witnesses: Mapping[str, Sequence[Witness]],
) -> Comparison:
    """Hold every trace against the witness; in float64 the candidate's against the reference's too.

    Elsewhere a side's pattern of active units is held against its witness's, which has computed at that pattern.
    """
    measurements: list[Measurement] = []
    missing = _absent(traces)
    is_exact = question is Question.SEMANTIC
    pairs = [(role, WITNESS) for role in traces]
    pairs[1:1] = [(CANDIDATE, REFERENCE)] if is_exact and len(traces) > 1 else []
    for index, episode in enumerate(episodes):
        found: list[Measurement] = []
        for role, other in pairs:
            shown, seen = traces[role][index], witnesses[role][index]
            drowned = drowned_tensors(seen)
            if noise := _noise_words(seen, drowned):
                missing.add(f"{setting}, {_step_words(episode)}: {noise}")
            against = seen.trace if other == WITNESS else traces[other][index]
            distances = compare(shown, against, seen.floors, episode.per_channel, drowned)
            if not is_exact:
                if (unsure := unsure_update(episode, shown, seen)) is not None:
                    missing.add(
                        f"{setting}, {_step_words(episode)}: the {role} does not show its activations, and rounding "
                        "alone could switch a ReLU, so gradients and what follows from them are held only to be finite"
                    )
                sure = (d for d in distances if np.isinf(d.distance) or not jumps(episode, d.key, unsure))
                distances = chain(sure, _active_units(episode, shown, seen, drowned))
            found += measure(question, setting, episode, (role, other), distances)
        # Causal order first: the same tensor of every pair stands together.
        measurements += sorted(found, key=lambda m: m.order)
    return Comparison(
        setting=setting,
        question=question,
        episodes=episodes,
        traces=traces,
        witnesses=witnesses,
        measurements=measurements,
        not_compared=frozenset(missing),
        unrepeatable=frozenset(
            role for role, played in traces.items() if _differs(episodes[0], played, witnesses[role][0])
        ),
    )


def _noise_words(seen: Witness, drowned: frozenset[Key]) -> str:
    """Say how much is not compared since rounding could make anything of it; "" if all is."""
    others = (key for key, floor in seen.floors.items() if np.ndim(floor) and key not in drowned)
    in_part = sum(bool(drowned_channels(seen.trace, key, seen.floors[key]).any()) for key in others)
    found = [f"{len(drowned)} of {len(seen.floors)} tensors"] if drowned else []
    found += [f"single channels of {in_part} of {len(seen.floors)} tensors"] if in_part else []
    return f"pure rounding noise or overflow, and not compared: {' and '.join(found)}" if found else ""


def measure(
    question: Question, setting: Setting, episode: Episode, pair: tuple[str, str], found: Iterable[Distance]
) -> Iterator[Measurement]:
    """Turn distances within an episode into records of the check."""
    for distance in found:
        place = {"question": question, "setting": setting, "pair": pair, "step": episode.label(distance.key)}
        yield Measurement(**vars(distance), **place)


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


def jumps(episode: Episode, key: Key, update: int | None) -> bool:
    """Return whether a tensor jumps where a unit of an update switches: its gradients, and all that follows from them.

    Increments follow from the side's own gradients, and so are small however it jumps. Without an update nothing does.
    """
    if update is None or key.kind in (Kind.INCREMENT, Kind.SIDE_EFFECT, Kind.LOADED):
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


def _step_words(episode: Episode) -> str:
    return episode.step if isinstance(episode.step, str) else f"step {episode.step}"


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
