"""`compare`: do a model of one framework and one of another compute the same, and if not, where do they part?"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from parity.backend.port import Port
from parity.errors import InputError
from parity.pair.baseline import read_baseline
from parity.pair.begin import begin
from parity.pair.explain import Accepted, Cases
from parity.pair.findings import Map, locate
from parity.pair.forced import Batch, ask
from parity.pair.guard import CrashError, Guarded
from parity.pair.inputs import Inputs, batches
from parity.pair.material import Material
from parity.pair.optimizer import Stepped, compare_optimizers, without_accepted
from parity.pair.pair_file import Pair, open_ports, read_pair
from parity.pair.passes import Passes
from parity.pair.pinned import Converter, Pins
from parity.pair.precision import NarrowAnswer, judge_narrow
from parity.pair.records import CompareReport
from parity.pair.replay import Replays
from parity.pair.report import crashed, report
from parity.pair.setup import Setup
from parity.pair.trials import Settled
from parity.progress import Progress, SilentProgress
from parity.verdict.trace import Mode

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
    where: str | ArrayLike | None = None,
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
    titles = {port.framework: port.title for port in ports}
    seconds = time.monotonic() - started
    return replace(found, title=pair.title, titles=titles, command=command, seconds=seconds)


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
        self._setup = Setup(reference, candidate, pair, batches(pair.inputs, seed), seed)
        self._seen: dict[Accepted, list[str]] = {each: [] for each in (*map(Accepted.parse, pair.accept), *known)}
        self._questions, self._dtypes, self._progress = questions, dtypes, progress
        for port in (reference, candidate) if pair.lift_float32 else ():
            port.lift()

    def report(self) -> CompareReport:
        """Compare, and report; a candidate that raises is a finding."""
        try:
            return report(self._material())
        except CrashError as error:
            if error.side == "reference":
                raise InputError(f"the reference cannot be run: it {error.words}") from error
            return crashed(error.words, self._versions())

    def _material(self) -> Material:
        self._progress.update(0.0, "the models, and which tensor is which")
        setup, (reference, candidate) = self._setup, (self._setup.reference, self._setup.candidate)
        reference.prepare(setup.given[0])
        ours = reference.anatomy(setup.given[0], Mode.TRAIN)
        setup.check_layouts(ours)
        begun = begin(setup, ours)
        theirs, state, settled = begun.theirs, begun.state, begun.settled
        played = setup.batches(begun.order)
        own = candidate.state()
        graph = Map(ours, theirs, settled.pairing)
        cases = Cases(graph, Replays(reference, candidate))
        passes = Passes(setup, ours, begun, cases, self._seen, "free" in self._questions)
        answers, free = passes.judged(played, self._progress)
        if "statistics" in self._questions:
            answers += passes.carried(played[0], own)
        self._progress.update(0.8, "the optimizers")
        reference.load(state)
        candidate.load(dict(own))
        stepped = Stepped()
        if self._has_optimizers():
            trained = ({p: state[p] for p in ours.parameters}, {p: own[p] for p in theirs.parameters})
            stepped = compare_optimizers(reference, candidate, settled.weights, *trained, setup.seed)
            stepped = without_accepted(stepped, self._seen)
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
            stepped=stepped,
            narrow=self._narrow(played[0], settled, passes),
            replaced={key for replaced in passes.replaced.values() for key in replaced},
            has_loss=reference.has_loss and candidate.has_loss,
            versions=self._versions(),
            lacking=passes.lacking,
            unlike=passes.unlike,
            nan=passes.nan,
            counted=None if (where := played[0].where) is None else (int(where.sum()), where.size),
            optimizers=(reference.has_optimizer, candidate.has_optimizer),
            is_optimizer_asked="optimizer" in self._questions,
            order=begun.order,
        )

    def _versions(self) -> dict[str, str]:
        """Which framework is which side, and the versions of the libraries."""
        sides = {"reference": self._setup.reference.framework, "candidate": self._setup.candidate.framework}
        return sides | self._setup.reference.versions | self._setup.candidate.versions

    def _has_optimizers(self) -> bool:
        both = self._setup.reference.has_optimizer and self._setup.candidate.has_optimizer
        return both and "optimizer" in self._questions

    def _narrow(self, first: Batch, settled: Settled, passes: Passes) -> list[NarrowAnswer]:
        """The precision question; a model that does not run in a narrower dtype is told as not compared."""
        if "precision" not in self._questions:
            return []
        models, asked = (self._setup.reference, self._setup.candidate), ask(self._setup.reference, first)
        replaced = passes.replaced[0, Mode.TRAIN]
        found = []
        for dtype in self._dtypes:
            try:
                found.append(judge_narrow(*models, asked, settled.pairing, settled.weights, dtype, replaced))
            except CrashError as error:  # which takes nothing back of what was compared in float64
                passes.unlike.append(f"anything in {dtype}, in which the {error.side} {error.words}")
        return found
