"""The forced and the free pass of every batch, and the statistics that are carried from batch to batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from parity.backend.port import Anatomy, Call, End
from parity.pair.begin import Begun
from parity.pair.explain import Accepted, Cases, with_accepted
from parity.pair.findings import OF_THE_LOSS, Segment
from parity.pair.forced import Answer, Asked, Batch, ask, judge
from parity.pair.inputs import batches
from parity.pair.pairing import Pairing
from parity.pair.part import counts
from parity.pair.settle import pair
from parity.pair.setup import Setup
from parity.pair.sites import words as words_at
from parity.progress import Progress
from parity.verdict.trace import Array, Key, Kind, Mode

WHOLE = Call("", 0)


@dataclass
class Passes:
    """Plays both models, and notes what it sees.

    Args:
        setup: what is compared.
        ours: the reference's anatomy.
        begun: which tensor is which.
        cases: of what-ifs.
        seen: what is accepted, and the modules at which it is seen.
        is_free_asked: whether the free pass is played as well.
        replaced: what the reference shows with what is accepted, by batch and mode.
        lacking: outputs that the candidate has not, and the mode.
        unlike: what could not be compared.
        nan: the segments whose values the reference itself has as NaN.
    """

    setup: Setup
    ours: Anatomy
    begun: Begun
    cases: Cases
    seen: dict[Accepted, list[str]]
    is_free_asked: bool
    replaced: dict[tuple[int, Mode], dict[Key, Array]] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)
    nan: set[Segment] = field(default_factory=set)
    _updated: tuple[dict[str, Array], dict[str, Array]] | None = None  # the statistics after the first batch

    def judged(self, played: Sequence[Batch], progress: Progress) -> tuple[list[Answer], list[Answer]]:
        """Return the forced pass of every batch, and the outputs of the free pass."""
        answers, free = [], []
        pairings: dict[int, Pairing] = {0: self.begun.settled.pairing}
        for done, batch in enumerate(played):
            words = f"batch {batch.number + 1} of {len(self.setup.given)}, {batch.mode}"
            progress.update(0.3 + 0.5 * done / len(played), words)
            if batch.number not in pairings:
                pairings[batch.number] = self._paired_again(batch)
            forced, whole = self._judged_once(batch, pairings[batch.number])
            answers.append(forced)
            free += whole
        return answers, free

    def _judged_once(self, batch: Batch, pairing: Pairing) -> tuple[Answer, list[Answer]]:
        """The forced pass of a batch, and the free pass if it is asked for."""
        weights = self.begun.settled.weights
        asked = ask(self.setup.reference, batch)
        found = judge(self.setup.reference, self.setup.candidate, asked, pairing, weights)
        found, self.replaced[batch.number, batch.mode] = with_accepted(self.cases, found, self.seen)
        if (batch.number, batch.mode) == (0, Mode.TRAIN):
            self._updated = _updated(found, self.replaced[0, Mode.TRAIN])
        self._note_outputs(asked, found, pairing)
        found = found if found.beyond else found.without_arrays()
        if not self.is_free_asked:
            return found, []
        ends, kinds = pairing.only(WHOLE), (Kind.ACTIVATION, Kind.LOSS)
        whole = judge(self.setup.reference, self.setup.candidate, asked, ends, weights, is_forced=False, kinds=kinds)
        return found, [whole.without_arrays()]

    def _note_outputs(self, asked: Asked, found: Answer, pairing: Pairing) -> None:
        """Note which outputs of the reference as a whole the candidate lacks, and what was not compared in a mode."""
        compared = {site.boundary for site in found.sites.values()}
        known = {b for b in self.ours.boundaries if b.call == WHOLE and b.end is End.OUTPUT}
        for b, value in asked.own.values.items():
            if value.dtype.kind == "c":
                self.unlike.append(f"{words_at(b)}: of complex numbers only the real parts")
            if b in pairing.boundaries and b not in compared:
                self.unlike.append(f"{words_at(b)} in {asked.batch.mode}, where the candidate has no such value")
            if b.call != WHOLE or b.end is not End.OUTPUT:
                continue
            words = f"the output{b.leaf} of the model in {asked.batch.mode}"
            if b not in known:
                self.unlike.append(f"{words}, where it has another structure than in training")
            elif b not in pairing.boundaries:
                self.lacking[f"output{b.leaf} of shape {value.shape}"] = str(asked.batch.mode)
        self.unlike += self._no_numbers(asked)
        if not known and not self.setup.reference.has_loss:
            self.unlike.append("anything: the model gives no arrays, and there is no loss")

    def _no_numbers(self, asked: Asked) -> Iterator[str]:
        """The first value of the reference that is NaN, else what of it is not finite: nothing there is compared."""
        own, mode, where = asked.own, asked.batch.mode, asked.batch.where
        floats = ((b, value) for b, value in own.values.items() if value.dtype.kind == "f")
        nan = [b for b, value in floats if np.isnan(value).any(where=counts(value, where))]
        paired = self.cases.graph.pairing.boundaries
        self.nan.update(self.cases.graph.segment_before(b) for b in nan if b in paired)
        if own.loss is not None and not np.isfinite(own.loss):
            self.nan.add(OF_THE_LOSS)
        if nan:
            yield f"{words_at(nan[0])} in {mode}, where the reference itself gives NaN"
            return
        if own.loss is not None and not np.isfinite(own.loss):
            yield f"the loss in {mode}, which the reference itself has as {own.loss}"
        complex_ones = [path for path, array in own.gradients.items() if array.dtype.kind == "c"]
        if complex_ones:
            yield f"the gradients of {', '.join(complex_ones)}, which are complex"
        for kind, tensors in (("gradient", own.gradients), ("statistic", own.statistics)):
            for path, array in tensors.items():
                if not np.isfinite(array).all():
                    yield f"the {kind} of {path} in {mode}, which the reference itself does not have as finite numbers"
                    break

    def carried(self, first: Batch, own: Mapping[str, Array]) -> list[Answer]:
        """Return the statistics after further batches, each side from its own; the parameters stay.

        Args:
            first: the first batch, in training.
            own: the candidate's state.
        """
        setup, settled = self.setup, self.begun.settled
        weights = settled.weights
        held = {piece.path for pair in weights.tensors for piece in pair.reference} & set(self.ours.statistics)
        answers: list[Answer] = []
        if not held or self._updated is None:
            return answers
        ours, theirs, updated = dict(self.begun.state), dict(own), self._updated
        for step in range(1, setup.pair.steps + 1):
            ours |= updated[0]
            theirs |= updated[1]
            setup.reference.load(ours)
            setup.candidate.load({path: theirs[path] for path in own})
            # Other numbers at each step, if they are drawn: over equal batches every average is the same.
            given = batches(setup.pair.inputs, setup.seed + step)[first.number]
            batch = replace(
                first, ours=given, theirs=self.begun.order(given), step=step, number=len(setup.given) + step
            )
            here = ask(setup.reference, batch)
            kinds = (Kind.STATISTIC,)
            found = judge(setup.reference, setup.candidate, here, settled.pairing, weights, kinds=kinds)
            found, replaced = with_accepted(self.cases, found, self.seen)
            answers.append(found if found.beyond else found.without_arrays())
            updated = _updated(found, replaced)
            if updated is None:
                break
        return answers

    def _paired_again(self, batch: Batch) -> Pairing:
        """The boundaries of a batch of another shape."""
        setup, settled = self.setup, self.begun.settled
        asked = ask(setup.reference, batch)
        ours = setup.reference.anatomy(batch.ours, Mode.TRAIN)
        theirs = setup.candidate.anatomy(batch.theirs, Mode.TRAIN)
        models: tuple[Anatomy, Anatomy] = (ours, theirs)
        return pair(setup.candidate, models, asked, settled.weights, settled.dropped)


def _updated(found: Answer, replaced: Mapping[Key, Array]) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """Each side's statistics after a batch, the reference's with what is accepted; None if they part there."""
    if any(distance.key.kind is Kind.STATISTIC for distance in found.beyond):
        return None
    ours = dict(found.own.statistics)
    for key, array in replaced.items():
        if key.kind is Kind.STATISTIC:
            ours[key.path] = array.reshape(np.shape(ours[key.path]))
    return ours, dict(found.shown.statistics)
