"""`compare`: do a model of one framework and one of another compute the same, and if not, where do they part?"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from parity.backend.port import Anatomy, Call, End, Port
from parity.errors import InputError
from parity.pair.baseline import read_baseline
from parity.pair.drawn_state import without_constants
from parity.pair.explain import Accepted, Cases, with_accepted
from parity.pair.findings import Map, locate
from parity.pair.forced import Answer, Asked, Batch, ask, judge
from parity.pair.guard import CrashError, Guarded
from parity.pair.input_layout import Order, orders
from parity.pair.inputs import Inputs, batches
from parity.pair.material import Material
from parity.pair.optimizer import compare_optimizers, without_accepted
from parity.pair.pair_file import Pair, open_ports, read_pair
from parity.pair.pairing import Pairing
from parity.pair.part import counts
from parity.pair.pinned import Converter, Pins, as_loaded, flat_state, pinned_maps
from parity.pair.precision import NarrowAnswer, judge_narrow
from parity.pair.records import CompareReport, PairCause
from parity.pair.replay import Replays
from parity.pair.report import crashed, report
from parity.pair.settle import OFF, Settled, Settling, pair
from parity.pair.sites import words as words_at
from parity.pair.weight_map import WeightMap, check_mapped, weight_maps
from parity.process import words_of
from parity.progress import Progress, SilentProgress
from parity.verdict.trace import Array, Key, Kind, Mode

WHOLE = Call("", 0)
DTYPES = ("float32", "bfloat16")
QUESTIONS = ("forced", "free", "statistics", "optimizer", "precision")


def compare(
    reference: Port | str,
    candidate: Port | None = None,
    *,
    inputs: Inputs | Sequence[Inputs] | None = None,
    accept: Sequence[str] = (),
    baseline: str | Path | None = None,
    weights: Pins | Converter | None = None,
    lift_float32: bool = False,
    where: Any = None,
    layouts: Mapping[str, Sequence[int]] | None = None,
    steps: int | None = None,
    questions: Sequence[str] = QUESTIONS,
    dtypes: Sequence[str] = ("float32",),
    seed: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> CompareReport:
    """Compare two models, and say where they part.

    Args:
        reference: a port of the model that is right, as the function `port` of a framework's package makes it; or a
            pair's file or module, whose two sides are each made in a process of its own.
        candidate: a port of the other; None with a pair's file.
        inputs: a batch, by name, in the reference's layout: arrays, or `parity.normal` and the like. A list of several
            is played one after the other, other shapes say. None with a pair's file.
        accept: differences that are accepted, as NAME@PLACE.
        baseline: a TOML file of accepted differences, each with its reason; None for none.
        weights: which of the candidate's tensors is which of the reference's: names, with what makes it where it is not
            the same, such as `{"fc.weight": ("head.kernel", parity.transposed)}`; the rest is found. Or a function that
            makes the candidate's state of the reference's, which is then what is checked. None to find it all.
        lift_float32: whether what either model computes in narrower numbers within float64 is computed in float64.
        where: the positions that count, where some are padding: the name of an input, or an array, of truth values
            along the first axes of values, (batch, length) say. None for all.
        layouts: the order of axes in which the candidate takes an input, by name, or has what leaves a module, by the
            module's path in the reference: `{"x": (0, 2, 3, 1)}`. The others are found.
        steps: updates of the statistics after the first that each side takes from its own; None for 3.
        questions: "forced", "free", "statistics" (carried from batch to batch), "optimizer", "precision".
        dtypes: of the precision question: "float32", "bfloat16".
        seed: of the inputs that are drawn.
        command: that the report is said to be made by.
        progress: shows how much is done.

    Raises:
        InputError: something that was given cannot be used.
    """
    _check_options(questions, dtypes, seed, accept)
    started = time.monotonic()
    given = {"inputs": inputs, "weights": weights, "where": where, "layouts": layouts, "steps": steps}
    own = {name: value for name, value in given.items() if value is not None}
    known = () if baseline is None else read_baseline(Path(baseline), reference if isinstance(reference, str) else None)
    asked = (tuple(questions), tuple(dtypes), seed, progress or SilentProgress(), known)
    if isinstance(reference, str) and candidate is not None:
        raise InputError("a pair's file has both sides; give it alone, or two ports and inputs")
    for side, port in (("reference", reference), ("candidate", candidate)):
        if not isinstance(port, str | Port) and port is not None:
            raise InputError(
                f"the {side} is {type(port).__name__}; give a port, as port() of a framework's package makes one"
            )
    if isinstance(reference, str):
        pair = replace(read_pair(reference), **own)
        pair = replace(pair, accept=(*pair.accept, *accept), lift_float32=pair.lift_float32 or lift_float32)
        with open_ports(reference) as ports:
            found = _Comparison(*ports, pair, *asked).report()
    else:
        if candidate is None or inputs is None:
            raise InputError("compare needs two ports and inputs, or the file of a pair")
        pair = Pair(**own, accept=tuple(accept), lift_float32=lift_float32)
        ports = Guarded("reference", reference), Guarded("candidate", candidate)
        found = _Comparison(*ports, pair, *asked).report()
    return replace(found, title=pair.title, command=command, seconds=time.monotonic() - started)


def _check_options(questions: Any, dtypes: Any, seed: Any, accept: Any) -> None:
    for name, given, known in (("questions", questions, QUESTIONS), ("dtypes", dtypes, DTYPES)):
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputError(f"{name} must be a list of {', '.join(known)}, got {given!r}")
        for each in given:
            if each not in known:
                raise InputError(f"{name} must be of {', '.join(known)}, got {each!r}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be a whole number from 0 on, got {seed!r}")
    if isinstance(accept, str) or not isinstance(accept, Iterable):
        raise InputError(f"accept must be a list of NAME@PLACE, got {accept!r}")


@dataclass(frozen=True)
class _Begun:
    """A comparison before anything is judged.

    Args:
        order: in which the candidate takes the inputs' axes.
        theirs: the candidate's anatomy.
        state: of the reference.
        drawn: the tensors of it that were drawn anew.
        settled: which tensor is which.
        is_off_at_inputs: whether what is computed of the inputs at once is off.
    """

    order: Order
    theirs: Anatomy
    state: dict[str, Array]
    drawn: tuple[str, ...]
    settled: Settled
    is_off_at_inputs: bool

    @property
    def misfits(self) -> int:
        """How much is off, or not paired."""
        return len(self.settled.off) - self.settled.paired


class _Comparison:
    def __init__(
        self,
        reference: Guarded,
        candidate: Guarded,
        pair: Pair,
        questions: Sequence[str],
        dtypes: Sequence[str],
        seed: int,
        progress: Progress,
        known: Sequence[Accepted],
    ) -> None:
        self._reference, self._candidate, self._pair = reference, candidate, pair
        self._given, self._seed = batches(pair.inputs, seed), seed
        self._seen: dict[Accepted, list[str]] = {each: [] for each in (*map(Accepted.parse, pair.accept), *known)}
        self._replaced: dict[tuple[int, Mode], dict[Key, Array]] = {}  # what is accepted, by batch and mode
        self._updated: tuple[dict[str, Array], dict[str, Array]] | None = None  # the statistics after the first batch
        self._questions, self._dtypes, self._progress = questions, dtypes, progress
        self._lacking: dict[str, str] = {}  # outputs that the candidate has not, and the mode
        self._unlike: list[str] = []  # what could not be compared
        for port in (reference, candidate) if pair.lift_float32 else ():
            port.lift()

    def report(self) -> CompareReport:
        """Compare, and report; a candidate that raises is a finding."""
        try:
            return report(self._material())
        except CrashError as error:
            if error.side == "reference":
                raise InputError(f"the reference cannot be played: it {error.words}") from error
            return crashed(error.words, self._reference.versions | self._candidate.versions)

    def _material(self) -> Material:
        self._progress.update(0.0, "the models, and which tensor is which")
        self._reference.prepare(self._given[0])
        ours = self._anatomy = self._reference.anatomy(self._given[0], Mode.TRAIN)
        self._check_layouts(ours)
        begun = self._begun(ours)
        theirs, state, settled = begun.theirs, begun.state, begun.settled
        played = self._played()
        own = self._candidate.state()
        graph = Map(ours, theirs, settled.pairing)
        cases = Cases(graph, Replays(self._reference, self._candidate))
        answers, free = self._judged(cases, played, settled)
        if "statistics" in self._questions:
            answers += self._carried(cases, played[0], settled, state, own)
        self._progress.update(0.8, "the optimizers")
        self._reference.load(state)
        self._candidate.load(dict(own))
        changes, steps, why = [], (), PairCause()
        if self._has_optimizers():
            trained = ({p: state[p] for p in ours.parameters}, {p: own[p] for p in theirs.parameters})
            changes, steps, why = compare_optimizers(
                self._reference, self._candidate, settled.weights, *trained, self._seed
            )
            changes = without_accepted(changes, why, self._seen)
        self._progress.update(0.9, "narrower dtypes")
        return Material(
            graph=graph,
            cases=cases,
            settled=settled,
            answers=answers,
            located=locate(graph, answers),
            seen=self._seen,
            free=free,
            drawn=begun.drawn,
            changes=changes,
            steps=steps,
            why=why,
            narrow=self._narrow(played[0], settled),
            replaced={key for replaced in self._replaced.values() for key in replaced},
            has_loss=self._reference.has_loss and self._candidate.has_loss,
            versions=self._reference.versions | self._candidate.versions,
            lacking=self._lacking,
            unlike=self._unlike,
            counted=None if (where := played[0].where) is None else (int(where.sum()), where.size),
            optimizers=(self._reference.has_optimizer, self._candidate.has_optimizer),
            is_optimizer_asked="optimizer" in self._questions,
        )

    def _played(self) -> list[Batch]:
        """The batches, each in both modes."""
        return [
            Batch(number, mode, given, self._order(given), where=self._where(given), layouts=self._pair.layouts)
            for number, given in enumerate(self._given)
            for mode in Mode
        ]

    def _begun(self, ours: Anatomy) -> _Begun:
        """The order of the inputs' axes, and which tensor is which. Another order is tried where one does not fit."""
        initial = self._reference.state()
        best: _Begun | None = None
        for order, theirs in orders(self._candidate, ours, self._given[0], self._pair.layouts):
            try:
                begun = self._begun_with(order, (ours, theirs), initial)
            except (CrashError, InputError):
                if best is None:
                    raise
                continue
            if best is None or begun.misfits < best.misfits:
                best = begun
            if not begun.is_off_at_inputs:
                break
        assert best is not None
        if self._order is not best.order or best.is_off_at_inputs:
            if self._order is not best.order:
                self._candidate.prepare(best.order(self._given[0]))
            self._order = best.order
            self._reference.load(best.state)
            Settling(self._candidate, (ours, best.theirs), best.state).load(best.settled.weights)
        return best

    def _begun_with(self, order: Order, models: tuple[Anatomy, Anatomy], initial: Mapping[str, Array]) -> _Begun:
        """The weight map, by the first batch. What the reference shows of it is not kept: a model's values are many."""
        self._order = order
        maps = self._maps(*models)
        state, drawn = without_constants(initial, maps[0], frozenset(models[0].statistics), self._seed)
        self._reference.load(state)
        settling = Settling(self._candidate, models, state)
        settling.load(maps[0])
        played = self._played()
        self._check_repeatable(played[0])
        settled = settling.settle(maps, [ask(self._reference, batch) for batch in played if batch.number == 0])
        return _Begun(order, models[1], state, drawn, settled, settling.is_off_at_inputs(settled))

    def _maps(self, ours: Anatomy, theirs: Anatomy) -> tuple[WeightMap, ...]:
        """The weight maps that are tried."""
        given = self._pair.weights
        if given is None:
            found = weight_maps(ours, theirs)
            check_mapped(found, ours, theirs)
            return found
        if isinstance(given, Mapping):
            try:
                found = pinned_maps(given, ours, theirs)
                check_mapped(found, ours, theirs)
                return found
            except InputError:
                raise
            except Exception as error:  # the user's own code
                form = '{"NAME": "NAME"} or {"NAME": ("NAME", transform)}'
                raise InputError(f"weights must be names, as {form}; it {words_of(error)}") from error
        if not callable(given):
            raise InputError(f"weights must be names of tensors, or a function of the state, got {given!r}")
        convert = cast("Converter", given)

        def loaded(state: Mapping[str, Array]) -> dict[str, Array]:
            return flat_state(convert({path: np.array(array) for path, array in state.items()}), theirs)

        state = self._reference.state()
        try:
            made = loaded(state)
        except InputError:
            raise
        except Exception as error:  # the user's own code
            raise InputError(f"weights {words_of(error)}") from error
        found = weight_maps(ours, theirs)
        return tuple(replace(as_loaded(each, state, made), converter=loaded) for each in found)

    def _where(self, given: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """The positions of a batch that count."""
        where = self._pair.where
        if isinstance(where, str):
            if where not in given:
                raise InputError(f"where is {where!r}, and there is no such input; there are {', '.join(given)}")
            where = given[where]
        if where is None:
            return None
        found = np.asarray(where)
        if found.dtype.kind not in "bui" or not np.isin(found, (0, 1)).all() or not found.any():
            raise InputError("where must be truth values of which some are true, or the name of an input of such")
        return found.astype(bool)

    def _check_layouts(self, ours: Anatomy) -> None:
        """Refuse a layout of what there is not."""
        known = {*self._given[0], *(each.call.module for each in ours.calls)}
        for name in self._pair.layouts:
            if name not in known:
                raise InputError(f"layouts: {name!r} is no input and no module of the reference")

    def _check_repeatable(self, first: Batch) -> None:
        """Refuse a reference that draws its own random numbers; of a candidate that does, say so."""
        if not _repeats(self._reference, first.ours, first.mode):
            raise InputError(
                "the reference is not repeatable: it gives two answers to one batch; switch off what draws random "
                "numbers, or share its draws through call="
            )
        if not _repeats(self._candidate, first.theirs, first.mode):
            raise CrashError("candidate", "is not repeatable: it gives two answers to one batch, so it draws its own")

    def _judged(self, cases: Cases, played: Sequence[Batch], settled: Settled) -> tuple[list[Answer], list[Answer]]:
        """The forced pass of every batch, and the outputs of the free pass."""
        answers, free = [], []
        pairings: dict[int, Pairing] = {0: settled.pairing}
        for done, batch in enumerate(played):
            words = f"batch {batch.number + 1} of {len(self._given)}, {batch.mode}"
            self._progress.update(0.3 + 0.5 * done / len(played), words)
            if batch.number not in pairings:
                pairings[batch.number] = self._paired_again(batch, settled)
            forced, whole = self._judged_once(cases, batch, pairings[batch.number], settled.weights)
            answers.append(forced)
            free += whole
        return answers, free

    def _judged_once(
        self, cases: Cases, batch: Batch, pairing: Pairing, weights: WeightMap
    ) -> tuple[Answer, list[Answer]]:
        """The forced pass of a batch, and the free pass if it is asked for."""
        asked = ask(self._reference, batch)
        found = judge(self._reference, self._candidate, asked, pairing, weights)
        found, self._replaced[batch.number, batch.mode] = with_accepted(cases, found, self._seen)
        if (batch.number, batch.mode) == (0, Mode.TRAIN):
            self._updated = _updated(found, self._replaced[0, Mode.TRAIN])
        self._note_outputs(asked, found, pairing)
        found = found if found.beyond else found.without_arrays()
        if "free" not in self._questions:
            return found, []
        ends, kinds = pairing.only(WHOLE), (Kind.ACTIVATION, Kind.LOSS)
        whole = judge(self._reference, self._candidate, asked, ends, weights, is_forced=False, kinds=kinds)
        return found, [whole.without_arrays()]

    def _note_outputs(self, asked: Asked, found: Answer, pairing: Pairing) -> None:
        """Note which outputs of the reference as a whole the candidate lacks, and what was not compared in a mode."""
        compared = {site.boundary for site in found.sites.values()}
        known = {b for b in self._anatomy.boundaries if b.call == WHOLE and b.end is End.OUTPUT}
        for b, value in asked.own.values.items():
            if value.dtype.kind == "c":
                self._unlike.append(f"{words_at(b)}: of complex numbers only the real parts")
            if b in pairing.boundaries and b not in compared:
                self._unlike.append(f"{words_at(b)} in {asked.batch.mode}, where the candidate has no such value")
            if b.call != WHOLE or b.end is not End.OUTPUT:
                continue
            words = f"the output{b.leaf} of the model in {asked.batch.mode}"
            if b not in known:
                self._unlike.append(f"{words}, where it has another structure than in training")
            elif b not in pairing.boundaries:
                self._lacking[f"output{b.leaf} of shape {value.shape}"] = str(asked.batch.mode)
        self._unlike += _no_numbers(asked)
        if not known and not self._reference.has_loss:
            self._unlike.append("anything: the model gives no arrays, and there is no loss")

    def _carried(self, cases: Cases, first: Batch, settled: Settled, state: dict[str, Array], own: Any) -> list[Answer]:
        """The statistics after further batches, each side from its own; the parameters stay."""
        weights = settled.weights
        held = {piece.path for pair in weights.tensors for piece in pair.reference} & set(self._anatomy.statistics)
        answers: list[Answer] = []
        if not held or self._updated is None:
            return answers
        ours, theirs, updated = dict(state), dict(own), self._updated
        for step in range(1, self._pair.steps + 1):
            ours |= updated[0]
            theirs |= updated[1]
            self._reference.load(ours)
            self._candidate.load({path: theirs[path] for path in own})
            # Other numbers at each step, if they are drawn: over equal batches every average is the same.
            given = batches(self._pair.inputs, self._seed + step)[first.number]
            batch = replace(first, ours=given, theirs=self._order(given), step=step, number=len(self._given) + step)
            here = ask(self._reference, batch)
            kinds = (Kind.STATISTIC,)
            found = judge(self._reference, self._candidate, here, settled.pairing, weights, kinds=kinds)
            found, replaced = with_accepted(cases, found, self._seen)
            answers.append(found if found.beyond else found.without_arrays())
            updated = _updated(found, replaced)
            if updated is None:
                break
        return answers

    def _has_optimizers(self) -> bool:
        both = self._reference.has_optimizer and self._candidate.has_optimizer
        return both and "optimizer" in self._questions

    def _narrow(self, first: Batch, settled: Settled) -> list[NarrowAnswer]:
        """The precision question; a model that does not run in a narrower dtype is told as not compared."""
        if "precision" not in self._questions:
            return []
        models, asked = (self._reference, self._candidate), ask(self._reference, first)
        replaced = self._replaced[0, Mode.TRAIN]
        found = []
        for dtype in self._dtypes:
            try:
                found.append(judge_narrow(*models, asked, settled.pairing, settled.weights, dtype, replaced))
            except CrashError as error:  # which takes nothing back of what was compared in float64
                self._unlike.append(f"anything in {dtype}, in which the {error.side} {error.words}")
        return found

    def _paired_again(self, batch: Batch, settled: Settled) -> Pairing:
        """The boundaries of a batch of another shape."""
        asked = ask(self._reference, batch)
        ours = self._reference.anatomy(batch.ours, Mode.TRAIN)
        theirs = self._candidate.anatomy(batch.theirs, Mode.TRAIN)
        models: tuple[Anatomy, Anatomy] = (ours, theirs)
        return pair(self._candidate, models, asked, settled.weights, settled.dropped)


def _no_numbers(asked: Asked) -> Iterator[str]:
    """The first value of the reference that is NaN, else what of it is not finite: nothing there is compared."""
    own, mode, where = asked.own, asked.batch.mode, asked.batch.where
    for b, value in own.values.items():
        if value.dtype.kind == "f" and np.isnan(value).any(where=counts(value, where)):
            yield f"{words_at(b)} in {mode}, where the reference itself gives NaN"
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


def _updated(found: Answer, replaced: Mapping[Key, Array]) -> tuple[dict[str, Array], dict[str, Array]] | None:
    """Each side's statistics after a batch, the reference's with what is accepted; None if they part there."""
    if any(distance.key.kind is Kind.STATISTIC for distance in found.beyond):
        return None
    ours = dict(found.own.statistics)
    for key, array in replaced.items():
        if key.kind is Kind.STATISTIC:
            ours[key.path] = array.reshape(np.shape(ours[key.path]))
    return ours, dict(found.shown.statistics)


def _repeats(port: Port, inputs: Mapping[str, Any], mode: Mode) -> bool:
    """Whether a model gives one answer to a batch."""
    one, other = (port.play(inputs, mode, is_backward=False).values for _ in range(2))
    return _is_same(one, other)


def _is_same(one: Mapping[Any, Array], other: Mapping[Any, Array]) -> bool:
    """Whether two answers are one, up to rounding: on a GPU sums are added up in any order."""
    return one.keys() == other.keys() and all(_is_near(one[at], other[at]) for at in one)


def _is_near(one: Array, other: Array) -> bool:
    with np.errstate(all="ignore"):
        size = np.abs(one).max(initial=0.0, where=np.isfinite(one))
    return bool(np.allclose(one, other, rtol=OFF, atol=OFF * size, equal_nan=True))
