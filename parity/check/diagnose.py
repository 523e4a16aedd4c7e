"""Why two disagree: which fault, put into the reference, makes it compute what the side computed.

A cause is named only if the reference with that fault reproduces the side within the limit, where the limit is
measured on the faulty reference itself. The first cause explains the first divergence; what then still diverges,
later on, is looked at again with the first cause in place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parity.check.catalogue import CATALOGUE, FaultEntry
from parity.check.compare import SAFETY, compare, drowned_tensors
from parity.check.episode import Recording, play
from parity.check.evidence import DRAWN, EVIDENCE, Evidence
from parity.check.hypotheses import FITS, Case, Values
from parity.check.lockstep import WITNESS, Comparison
from parity.check.noise import Unit, Witness, rms, witness
from parity.check.records import UNEXPLAINED, Cause, Measurement, Question
from parity.errors import InputError
from parity.faults import NEUTRAL_FAULTS
from parity.process import SideError
from parity.reference import NumpyBackend
from parity.reference.faults import FAULTS

MOST_CAUSES = 4
# Before its own noise is measured a hypothesis may miss by this factor more: a fault that scales a tensor, by the
# batch's size say, scales its noise as well.
SCREEN = 1024.0


@dataclass(frozen=True)
class _Position:
    """Where a side first diverges: the episode, and the measurement."""

    episode: int
    measurement: Measurement

    @property
    def place(self) -> tuple[int, int]:
        return self.episode, self.measurement.order


@dataclass(frozen=True)
class _Explanation:
    entry: FaultEntry
    values: Values
    reference: NumpyBackend
    position: _Position | None  # of what it leaves unexplained


def explain_role(honest: NumpyBackend, comparison: Comparison, role: str, unit: Unit) -> tuple[Cause, ...]:
    """The causes of a side's divergences, first things first; empty if it has none.

    Args:
        honest: the reference.
        comparison: of lockstep.
        role: the side.
        unit: the rounding that is allowed.
    """
    return _Search(honest, comparison, role, unit).causes()


class _Search:
    def __init__(self, honest: NumpyBackend, comparison: Comparison, role: str, unit: Unit) -> None:
        self._honest, self._comparison, self._role, self._unit = honest, comparison, role, unit
        self._episodes = comparison.episodes
        self._recordings = comparison.recordings[role]
        self._spec = self._episodes[0].spec
        self._case = Case(self._episodes[0], self._recordings[0], comparison.witnesses[role][0].recording)

    def causes(self) -> tuple[Cause, ...]:
        """Causes one after the other, as far as the reference with them all reproduces whole episodes."""
        found: list[Cause] = []
        confirmed, open_at = 0, None
        used: set[str] = set()
        reference, position = self._honest, self._honest_position()
        while position is not None and len(found) < MOST_CAUSES:
            open_at = open_at or (reference, position)
            best = self._best(reference, position, used)
            if best is None:
                break
            used.add(_part(best.entry.name))
            found.append(self._cause(best, position))
            reference, position = best.reference, best.position
            if position is None or position.episode > open_at[1].episode:
                confirmed, open_at = len(found), None
        unexplained = [self._unexplained(*open_at)] if open_at else []
        return (*found[:confirmed], *unexplained)

    def _honest_position(self) -> _Position | None:
        return next(self._divergences(self._honest, known=True), None)

    def _divergences(self, reference: NumpyBackend, known: bool = False) -> Iterator[_Position]:
        """Where the side diverges from a reference, episode by episode: the first measurement in each."""
        for index in range(len(self._episodes)):
            seen = self._comparison.witnesses[self._role][index] if known else self._witness(reference, index)
            found = next((m for m in self._compare(index, seen) if not m.times_noise <= SAFETY), None)
            if found is not None:
                yield _Position(index, found)

    def _witness(self, reference: NumpyBackend, index: int) -> Witness:
        with np.errstate(all="ignore"):
            return witness(reference, self._episodes[index], self._unit, self._patterns(index))

    def _patterns(self, index: int):
        return self._recordings[index].patterns if self._comparison.question is Question.PRECISION else None

    def _compare(self, index: int, seen: Witness) -> Iterator[Measurement]:
        episode = self._episodes[index]
        return compare(
            self._comparison.question,
            self._comparison.setting,
            episode,
            (self._role, WITNESS),
            self._recordings[index],
            seen.recording,
            seen.floors,
            drowned_tensors(episode, seen),
            nan_matches=True,
        )

    def _best(self, reference: NumpyBackend, position: _Position, used: set[str]) -> _Explanation | None:
        """The hypothesis that explains the longest stretch; the first of the catalogue among equals."""
        best: _Explanation | None = None
        for entry, values, faulty in self._hypotheses(reference, used):
            if not self._passes_screen(entry, faulty, position):
                continue
            left = next(self._divergences(faulty), None)
            if left is not None and left.place <= position.place:
                continue
            if entry.random and not self._is_of_its_size(faulty, position):
                continue
            if best is None or (best.position and (left is None or left.place > best.position.place)):
                best = _Explanation(entry, values, faulty, left)
            if best.position is None and not best.entry.random:
                break
        return best

    def _hypotheses(self, reference: NumpyBackend, used: set[str]) -> Iterator[tuple[FaultEntry, Values, NumpyBackend]]:
        asked = self._comparison.question.value
        for entry in CATALOGUE.values():
            if not entry.applies(self._spec) or _part(entry.name) in used or entry.shows_in == "inputs":
                continue
            if entry.shows_in == "precision" and asked != "precision":
                continue
            fit = FITS.get(entry.name)
            for values in fit(self._case) if fit else ({},):
                yield entry, values, reference.with_fault(entry.name, **values)

    def _passes_screen(self, entry: FaultEntry, faulty: NumpyBackend, position: _Position) -> bool:
        """Whether a fault brings the first divergent tensor near enough for its noise to be worth measuring."""
        if entry.random:
            return True
        shown = self._play(faulty, position.episode)
        if shown is None:
            return False
        honest = self._comparison.witnesses[self._role][position.episode]
        measured = self._compare(position.episode, Witness(shown, honest.floors))
        found = next((m for m in measured if m.order == position.measurement.order), None)
        # It must help at all: a fault that has nothing to do with it leaves the distance as it was.
        return found is not None and found.times_noise <= min(SCREEN * SAFETY, position.measurement.times_noise / 2)

    def _play(self, faulty: NumpyBackend, index: int) -> Recording | None:
        try:
            with np.errstate(all="ignore"):
                return play(faulty, self._episodes[index], "float64", self._patterns(index))
        except (InputError, SideError):
            return None

    def _is_of_its_size(self, faulty: NumpyBackend, position: _Position) -> bool:
        """Whether what diverges is as large as the fault's own rounding makes it, and not far below."""
        honest = self._comparison.witnesses[self._role][position.episode]
        key = list(honest.floors)[position.measurement.order]
        difference = self._recordings[position.episode].tensors[key] - honest.recording.tensors[key]
        distance = rms(difference, self._episodes[position.episode].per_channel)
        beyond = distance > SAFETY * honest.floors[key]
        own = self._witness(faulty, position.episode).floors[key]
        # A single rounding error is by chance far smaller than usual, but hardly by the square of the safety factor.
        return bool(np.any(beyond & (SAFETY**2 * distance >= own)))

    def _cause(self, found: _Explanation, position: _Position) -> Cause:
        evidence = EVIDENCE.get(found.entry.name, self._default_evidence(found.entry, position))
        made = evidence(self._case, found.values)
        drawn = made if made.predicted is not None else self._drawing(position, made.sentence)
        return Cause(
            name=found.entry.name,
            evidence=f"{made.sentence} ({self._times(position)}; with this fault the reference reproduces it)",
            side=self._role,
            predicted=drawn.predicted,
            observed=drawn.observed,
            axes=drawn.axes,
        )

    def _default_evidence(self, entry: FaultEntry, position: _Position):
        def evidence(case: Case, values: Values) -> Evidence:
            del case, values
            return self._drawing(position, f"{entry.what}: {entry.signature}")

        return evidence

    def _drawing(self, position: _Position, sentence: str) -> Evidence:
        m = position.measurement
        key = list(self._comparison.witnesses[self._role][position.episode].floors)[m.order]
        honest = self._comparison.witnesses[self._role][position.episode].recording.tensors[key]
        observed = self._recordings[position.episode].tensors[key]
        step = max(1, honest.size // DRAWN)
        return Evidence(sentence, honest.ravel()[::step], observed.ravel()[::step], m.tensor)

    def _times(self, position: _Position) -> str:
        m = position.measurement
        size = f"{m.times_noise:.2g} times the noise floor" if np.isfinite(m.times_noise) else "beyond any noise"
        where = m.step if isinstance(m.step, str) else f"step {m.step}"
        layer = "" if m.layer is None else f", layer {m.layer}"
        return f"{m.tensor} at {where}{layer} is {size} away"

    def _unexplained(self, reference: NumpyBackend, position: _Position) -> Cause:
        drawn = self._drawing(position, "")
        return Cause(
            name=UNEXPLAINED,
            evidence=f"{self._times(position)}; no fault of the catalogue reproduces it"
            + self._nearest(reference, position),
            side=self._role,
            predicted=drawn.predicted,
            observed=drawn.observed,
            axes=drawn.axes,
        )

    def _nearest(self, reference: NumpyBackend, position: _Position) -> str:
        """The hypothesis that comes nearest at the first divergence, in words."""
        honest = self._comparison.witnesses[self._role][position.episode]
        best, name = position.measurement.times_noise, ""
        for entry, _, faulty in self._hypotheses(reference, set()):
            shown = self._play(faulty, position.episode)
            if shown is None or entry.random:
                continue
            measured = self._compare(position.episode, Witness(shown, honest.floors))
            left = max((m.times_noise for m in measured if m.order <= position.measurement.order), default=np.inf)
            if left < best:
                best, name = left, entry.name
        if not name:
            return ""
        left = "explains it, but not what follows" if best <= SAFETY else f"leaves {best:.2g} times the noise floor"
        return f"; nearest is {name}, which {left}"


def _part(name: str) -> str:
    """The part that a fault takes; conventions can be wrong several at once."""
    part = (NEUTRAL_FAULTS | dict(FAULTS))[name][0]
    return name if part == "conventions" else part
