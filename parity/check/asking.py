"""The questions of a check, one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from parity.check import free_run, statistical
from parity.check.accepted import GONE, gone_words, reference_with
from parity.check.catalogue import CATALOGUE
from parity.check.config import CheckConfig
from parity.check.diagnose import explain_role
from parity.check.findings import Findings
from parity.check.lockstep import (
    CANDIDATE,
    REFERENCE,
    WITNESS,
    Asked,
    Comparison,
    RoleError,
    ask_all,
    has_vanished,
)
from parity.check.not_asked import Offer
from parity.check.presented import compare_inputs, explain_inputs, present, record_inputs
from parity.check.probes import Course, Samples, draw_samples, precision_episodes, samples_of, semantic_episodes
from parity.check.records import Cause, Question, Setting
from parity.check.roles import RoleSide, describe
from parity.check.still_there import has_difference
from parity.data import Dataset
from parity.process import SideError
from parity.progress import Progress
from parity.reference import NumpyBackend
from parity.spec import ModelSpec, TrainSpec
from parity.verdict.compare import SAFETY, first_beyond
from parity.verdict.noise import Unit, unit_of
from parity.verdict.trace import Trace
from parity.verdict.verdict import UNEXPLAINED
from parity.weights import Weights, draw_weights

Place = tuple[Setting, ModelSpec]
NOT_REPEATABLE, VANISHED = "not_repeatable", "vanished_signal"


@dataclass
class Asking:
    """A check under way.

    Args:
        config: what to ask.
        sides: by role; the candidate first.
        third: the NumPy reference, with the accepted differences.
        dataset: whose images are trained on.
        progress: shows how far it is.
        findings: what has been found so far.
    """

    config: CheckConfig
    sides: Mapping[str, RoleSide]
    third: RoleSide
    dataset: Dataset
    progress: Progress
    findings: Findings

    def __post_init__(self) -> None:
        self.reference = reference_with(self.config.accept)
        self._explained: dict[Question, set[str]] = {}

    def ask(self) -> None:
        """Ask about the inputs of every configuration, then every question of every configuration."""
        self.findings.about = {role: side.call(describe) for role, side in self.sides.items()}
        self.offer = Offer(self.config, self.sides, self.findings.about, self._fits_dataset(self.config.spec))
        self.findings.not_asked = self.offer.not_asked()
        depths, seeds = sorted(self.config.depths), range(self.config.seed, self.config.seed + self.config.num_seeds)
        settings = [
            (Setting(depth=depth, batch_norm=norm, seed=seed), self.config.spec_of(depth, norm))
            for depth, norm, seed in product(depths, self.config.batch_norm, seeds)
        ]
        for setting, spec in settings:
            self._ask_inputs(setting, spec)
        for number, question in enumerate(self.config.questions):
            places = self._watched(question, settings, number / len(self.config.questions))
            if question in (Question.SEMANTIC, Question.PRECISION):
                asked = (one for place in places for one in self._lockstep(question, *place))
                for found in ask_all(asked, self.third, self.config.precision):
                    self._judge(found)
            else:
                for place in places:
                    getattr(self, f"_ask_{question}")(*place)

    def _watched(self, question: str, settings: Sequence[Place], share: float) -> Iterator[Place]:
        """The settings of a question, each told to the progress; it costs about as much as its network has layers."""
        total = sum(setting.depth + 2 for setting, _ in settings) * len(self.config.questions)
        for setting, spec in settings:
            self.progress.update(share, f"{question.replace('_', ' ')}: {setting}")
            yield setting, spec
            share += (setting.depth + 2) / total

    def _training(self, setting: Setting) -> TrainSpec:
        return TrainSpec(batch_size=self.config.batch_size, seed=setting.seed)

    def _fits_dataset(self, spec: ModelSpec) -> bool:
        return (
            spec.input_dim == self.dataset.train_images.shape[1] and spec.output_dim > self.dataset.train_labels.max()
        )

    def _start(self, setting: Setting, spec: ModelSpec) -> tuple[Weights, Samples]:
        """The initial weights and the samples that all sides are handed."""
        if not self._fits_dataset(spec):
            return draw_weights(spec, setting.seed), draw_samples(spec, self.config.batch_size, setting.seed)
        inputs = NumpyBackend().inputs(self.dataset, spec, self._training(setting))
        return inputs.weights, samples_of(inputs)

    def _course(self, setting: Setting, spec: ModelSpec) -> Course:
        """The training along which a setting is asked."""
        config = self.config
        weights, samples = self._start(setting, spec)
        return Course(
            spec=spec,
            weights=weights,
            samples=samples,
            learning_rate=config.learning_rate,
            steps=config.sampled_steps,
            seed=setting.seed,
            is_first=(setting.depth, setting.seed) == (min(config.depths), config.seed),
        )

    def _leave_out_reference(self, dtype: str) -> None:
        if not self.offer.has(REFERENCE, dtype):
            self.findings.leave_out(f"{self.sides[REFERENCE].title} does not offer {dtype}")

    def _ask_inputs(self, setting: Setting, spec: ModelSpec) -> None:
        if not self._fits_dataset(spec):
            self.findings.leave_out("inputs: the network fits no data set, so each side was handed random ones")
            return
        training = self._training(setting)
        expected = record_inputs(self.reference.inputs(self.dataset, spec, training))
        for role, side in self.sides.items():
            shown: Trace | None = side.call(present, self.dataset, spec, training)
            if shown is None:
                self.findings.leave_out(f"{self.sides[role].title} does not present its own inputs")
                continue
            try:
                found = list(compare_inputs(setting, (role, WITNESS), shown, expected))
            except SideError as error:
                raise RoleError(role, f"the {self.sides[role].title} {error}") from error
            beyond = self.findings.note(Question.INPUTS, found)
            gone = self._gone_inputs(setting, spec, shown) if role == CANDIDATE else ()
            if beyond:
                causes = gone or explain_inputs(setting, self.dataset, training, spec, role, shown, self.reference)
                self.findings.explain(Question.INPUTS, causes)

    def _gone_inputs(self, setting: Setting, spec: ModelSpec, shown: Trace) -> tuple[Cause, ...]:
        """The accepted differences of the inputs that the candidate does not have."""
        gone = []
        for name in self._accepted(spec, of_inputs=True):
            others = reference_with(other for other in self.config.accept if other != name)
            without = record_inputs(others.inputs(self.dataset, spec, self._training(setting)))
            if first_beyond(compare_inputs(setting, (CANDIDATE, WITNESS), shown, without)) is None:
                gone.append(name)
        return self._sort_out(self._accepted(spec, of_inputs=True), gone)

    def _accepted(self, spec: ModelSpec, of_inputs: bool) -> list[str]:
        """The accepted differences that a network can have: those of its inputs, or the others."""
        entries = [CATALOGUE[name] for name in self.config.accept]
        return [e.name for e in entries if e.applies(spec) and (e.shows_in == "inputs") == of_inputs]

    def _sort_out(self, accepted: Sequence[str], gone: Sequence[str]) -> tuple[Cause, ...]:
        """Keep which accepted differences were seen; return a cause for each that is gone."""
        self.findings.seen |= set(accepted) - set(gone)
        self.findings.gone |= set(gone)
        return tuple(Cause(name=GONE, evidence=gone_words(name)) for name in gone)

    def _lockstep(self, question: str, setting: Setting, spec: ModelSpec) -> Iterator[Asked]:
        """What the semantic or the precision question asks of a configuration."""
        for dtype in ("float64",) if question == Question.SEMANTIC else self.config.dtypes:
            sides = self.offer.takers(dtype)
            if not sides:
                continue
            if question == Question.SEMANTIC:
                episodes = semantic_episodes(self._course(setting, spec))
            else:
                self._leave_out_reference(dtype)
                bits = unit_of(dtype, self.config.precision).bits
                episodes = precision_episodes(self._course(setting, spec), bits)
            yield Asked(Question(question), replace(setting, dtype=dtype), episodes, sides)

    def _judge(self, found: Comparison) -> None:
        """Take in what lockstep found; explain the first configuration of each question in which a side fails."""
        self.findings.leave_out(*sorted(found.not_compared))
        for role in sorted(found.unrepeatable):
            words = f"the {self.sides[role].title} gives two answers to one question"
            self.findings.fail(found.question, words, role, NOT_REPEATABLE)
        if has_vanished(found):
            words = f"{found.setting}: the gradient of the first layer is no larger than its rounding, so nothing shows"
            self.findings.fail(found.question, f"{words}; choose another seed or width", "", VANISHED)
        self.findings.note(found.question, list(found.measurements))
        failing = {m.pair[0] for m in found.measurements if m.is_beyond and m.pair[1] == WITNESS}
        failing -= self._explained.setdefault(found.question, set())
        self._explained[found.question] |= failing
        unit = unit_of(found.setting.dtype, self.config.precision)
        gone = self._gone(found, unit, CANDIDATE in failing)
        for role in found.traces:
            if role in failing:
                known = gone if role == CANDIDATE else ()
                self.findings.explain(found.question, known or self._cause_of(found, role, unit))

    def _cause_of(self, found: Comparison, role: str, unit: Unit) -> tuple[Cause, ...]:
        """The causes of a side's divergences; the verdict stands whatever becomes of the search for them."""
        try:
            return self.third.call(explain_role, found, role, unit)
        except RoleError as error:
            return (Cause(name=UNEXPLAINED, evidence=f"the search for a cause failed: {error}", side=role),)

    def _gone(self, found: Comparison, unit: Unit, beyond: bool) -> tuple[Cause, ...]:
        """The accepted differences that the candidate does not have; seen once is enough where nothing is beyond."""
        accepted = self._accepted(found.episodes[0].spec, of_inputs=False)
        asked = [name for name in accepted if beyond or name not in self.findings.seen]
        has = {name: has_difference(name, self.config.accept, found, CANDIDATE, self.third, unit) for name in asked}
        told = [name for name in asked if has[name] is not None]
        return self._sort_out(told, [name for name in told if not has[name]])

    def _ask_free_run(self, setting: Setting, spec: ModelSpec) -> None:
        weights, samples = self._start(setting, spec)
        for dtype in dict.fromkeys(("float64", *self.config.dtypes)):
            if not self.offer.both_have(dtype):
                self.findings.leave_out(f"free run, {dtype}: the two do not both offer it")
                continue
            asked = samples, spec, weights, replace(setting, dtype=dtype), SAFETY, self.reference
            found = free_run.free_run(*self._pair(), self.config, *asked)
            self.findings.free_runs.append(found)
            if found.judged == 0:
                words = f"free run, {found.setting}: rounding alone could have made anything from the first update on"
                self.findings.leave_out(words)
            if free_run.fails(found, SAFETY):
                self.findings.fail(Question.FREE_RUN, free_run.describe(found, SAFETY), CANDIDATE)

    def _ask_statistical(self, setting: Setting, spec: ModelSpec) -> None:
        if setting.seed != self.config.seed:  # it has seeds of its own
            return
        dtype = next(filter(self.offer.both_have, self.config.dtypes), None)
        if dtype is None or not self.offer.fits_dataset:
            return
        data = NumpyBackend().inputs(self.dataset, spec, self._training(setting))
        found = statistical.statistical(*self._pair(), self.config, data, spec, replace(setting, dtype=dtype))
        self.findings.equivalences += found
        for result in found:
            if result.outcome == "different":
                self.findings.fail(Question.STATISTICAL, statistical.describe(result), CANDIDATE)

    def _pair(self) -> tuple[RoleSide, RoleSide]:
        return self.sides[CANDIDATE], self.sides[REFERENCE]
