"""The check, checked: every fault of the catalogue must be caught and named, and no honest variant may be flagged."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from threading import Lock
from typing import Any

from parity.backend import Backend, sibling_names
from parity.check.catalogue import CATALOGUE, FaultEntry
from parity.check.config import CheckConfig
from parity.check.diagnose import explain_role
from parity.check.episode import Episode
from parity.check.fixed_rules import RULES, objections
from parity.check.lockstep import CANDIDATE, Comparison, compare_lockstep
from parity.check.play import play_all
from parity.check.presented import compare_inputs, explain_inputs, present, record_inputs
from parity.check.probes import Course, precision_episodes, samples_of, semantic_episodes
from parity.check.records import SCHEMA, WITNESS, Cause, Question, Setting
from parity.check.roles import describe
from parity.check.variants import TWO_THREADS, VARIANTS, with_variant
from parity.check.witness import witness_all
from parity.data import Dataset, load_dataset
from parity.process import THREAD_SETTINGS, SideError
from parity.progress import Progress, SilentProgress
from parity.reference import NumpyBackend
from parity.reference.training_faults import TRAINING_FAULTS
from parity.sides import SideSpec, open_side
from parity.spec import ModelSpec, TrainSpec
from parity.verdict.compare import SAFETY
from parity.verdict.noise import Witness, unit_of
from parity.verdict.trace import Trace

DEPTHS = (1, 3, 8)
IN_DTYPE = {"semantic": "float64", "precision": "float32"}  # where a fault is looked for


@dataclass(frozen=True, kw_only=True)
class SelfTestCase:
    """One case: a framework with a fault, or an honest variant of it.

    Args:
        framework: the candidate.
        depth: of the network, with batch norm.
        name: of the fault or the variant.
        honest: whether it is a variant.
        flagged: whether the check said that it disagrees.
        named: the causes that it gave, or None.
        where: the first divergence, in words.
        rules: which fixed rules would have objected.
    """

    framework: str
    depth: int
    name: str
    honest: bool
    flagged: bool
    named: str | None = None
    where: str = ""
    rules: dict[str, bool] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether the check said what it should."""
        return not self.flagged if self.honest else self.named == self.name


@dataclass(frozen=True, kw_only=True)
class SelfTestReport:
    """Every case, and the two scores.

    Args:
        cases: in order.
        skipped: faults and variants that do not apply, and why.
    """

    cases: tuple[SelfTestCase, ...]
    skipped: tuple[str, ...] = ()

    @property
    def faults(self) -> list[SelfTestCase]:
        """The cases with a fault."""
        return [case for case in self.cases if not case.honest]

    @property
    def variants(self) -> list[SelfTestCase]:
        """The honest ones."""
        return [case for case in self.cases if case.honest]

    @property
    def passed(self) -> bool:
        """Every fault caught, 95% of them named right at first place, no honest variant flagged."""
        named = sum(case.right for case in self.faults)
        caught = all(case.flagged for case in self.faults)
        return bool(self.faults) and caught and named >= 0.95 * len(self.faults) and self.flagged(self.variants) == 0

    @staticmethod
    def flagged(cases: Sequence[SelfTestCase]) -> int:
        """How many the check flagged."""
        return sum(case.flagged for case in cases)

    def scores(self) -> list[tuple[str, int, int, int]]:
        """For the check and each fixed rule: its name, faults caught, faults named right, honest variants flagged."""
        ours = ("this check", self.flagged(self.faults), sum(case.right for case in self.faults))
        rows: list[tuple[str, int, int, int]] = [(*ours, self.flagged(self.variants))]
        for rule in RULES:
            caught, wrong = (sum(case.rules.get(rule, False) for case in part) for part in (self.faults, self.variants))
            rows.append((rule, caught, 0, wrong))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("rule", "faults_caught", "faults_named", "variants_flagged")
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "faults": len(self.faults),
            "variants": len(self.variants),
            "safety": SAFETY,
            "scores": [dict(zip(names, row, strict=True)) for row in self.scores()],
            "cases": [asdict(case) for case in self.cases],
            "skipped": list(self.skipped),
        }


def play_fault(backend: Any, name: str, episodes: Sequence[Episode], dtype: Any) -> list[Trace]:
    """Play episodes with a fault."""
    return play_all(backend.with_fault(name), episodes, dtype)


def play_variant(backend: Backend, name: str, episodes: Sequence[Episode], dtype: Any) -> list[Trace]:
    """Play episodes with an honest variant."""
    return play_all(with_variant(backend, name), episodes, dtype)


def present_fault(backend: Any, name: str, dataset: Dataset, spec: ModelSpec, training: TrainSpec) -> Trace | None:
    """What a backend with a fault presents as its inputs."""
    return present(backend.with_fault(name), dataset, spec, training)


@dataclass
class _Depth:
    """What all cases of a depth share."""

    spec: ModelSpec
    setting: Setting
    episodes: dict[str, list[Episode]]  # by dtype
    witnesses: list[Witness]
    exact: list[Trace]
    honest: list[Trace]  # of the candidate's own framework, in float32


def self_test(
    config: CheckConfig | None = None,
    *,
    frameworks: Sequence[str] = (),
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> SelfTestReport:
    """Run the whole catalogue and the honest variants, each framework in turn as the candidate.

    Args:
        config: gives depths, data set, seed, batch size and learning rate; None for depths 1, 3 and 8.
        frameworks: the candidates; none for every sibling.
        names: of the faults and variants; none for all.
        progress: shows how far it is.
    """
    config = config or CheckConfig(depths=DEPTHS)
    dataset, candidates = load_dataset(config.dataset), frameworks or sibling_names()
    with progress or SilentProgress() as shown:
        meter = _Meter(shown, config, len(candidates))
        runs = [_Run(candidate, config, dataset, meter, names) for candidate in candidates]
        with ThreadPoolExecutor(len(runs)) as pool:
            found = list(pool.map(_Run.cases, runs))
    return SelfTestReport(
        cases=tuple(case for part in found for case in part),
        skipped=tuple(dict.fromkeys(word for run in runs for word in run.skipped)),
    )


class _Meter:
    """How much of all the frameworks' cases is done: a case costs about as much as its network has layers."""

    def __init__(self, progress: Progress, config: CheckConfig, frameworks: int) -> None:
        self._progress, self._lock, self._done = progress, Lock(), 0.0
        self._total = frameworks * (len(CATALOGUE) + len(VARIANTS)) * sum(depth + 2 for depth in config.depths)

    def tell(self, framework: str, depth: int, name: str) -> None:
        """A case is about to begin."""
        with self._lock:
            self._progress.update(min(self._done / self._total, 1.0), f"{framework}, depth {depth}: {name}")
            self._done += depth + 2


class _Run:
    """The cases of one framework."""

    def __init__(
        self, framework: str, config: CheckConfig, dataset: Dataset, meter: _Meter, names: Sequence[str]
    ) -> None:
        self.framework, self.config, self.dataset = framework, config, dataset
        self._meter, self._names, self.skipped = meter, names, []

    def cases(self) -> list[SelfTestCase]:
        """Every depth, fault and variant."""
        return [case for depth in self.config.depths for case in self._cases_in_new_processes(depth)]

    def _cases_in_new_processes(self, depth: int) -> list[SelfTestCase]:
        # Every fault is a program of its own, and the system gives a process only so many memory maps to hold them.
        with ExitStack() as stack:
            specs = spec_of(self.framework), spec_of(NumpyBackend.name)
            self.side, self.third = (stack.enter_context(open_side(spec)) for spec in specs)
            if self._wanted(TWO_THREADS):
                self.threaded = stack.enter_context(open_side(spec_of(self.framework, threads=2)))
            return list(self._cases_of(depth))

    def _cases_of(self, depth: int) -> Iterator[SelfTestCase]:
        shared = self._share_of(depth)
        for name, entry in CATALOGUE.items():
            if name not in TRAINING_FAULTS and self._wanted(name) and self._applies(entry, shared.spec):
                self._meter.tell(self.framework, depth, name)
                yield self._fault(entry, shared)
        for name in (*VARIANTS, *self.side.call(_variant_names)):
            if self._wanted(name):
                self._meter.tell(self.framework, depth, name)
                try:
                    yield self._variant(name, shared)
                except SideError as error:
                    self.skipped.append(f"variant {name} of {self.framework}: {error}")

    def _wanted(self, name: str) -> bool:
        return not self._names or name in self._names

    def _applies(self, entry: FaultEntry, spec: ModelSpec) -> bool:
        if entry.applies(spec):
            return True
        self.skipped.append(f"{entry.name} at depth {spec.num_hidden_layers}: {entry.what}")
        return False

    def _share_of(self, depth: int) -> _Depth:
        config = self.config
        spec = replace(config.spec, num_hidden_layers=depth, use_batch_norm=True)
        inputs = NumpyBackend().inputs(self.dataset, spec, self._training())
        course = Course(
            spec=spec,
            weights=inputs.weights,
            samples=samples_of(inputs),
            learning_rate=config.learning_rate,
            steps=config.sampled_steps,
            seed=config.seed,
            is_first=depth == min(config.depths),
        )
        episodes = {dtype: precision_episodes(course, unit_of(dtype).bits) for dtype in ("float32", "bfloat16")}
        episodes["float64"] = semantic_episodes(course)
        return _Depth(
            spec=spec,
            setting=Setting(depth=depth, batch_norm=True, seed=config.seed),
            episodes=episodes,
            witnesses=self.third.call(witness_all, episodes["float64"], unit_of("float64")),
            exact=self.third.call(play_all, episodes["float32"], "float64"),
            honest=self.side.call(play_all, episodes["float32"], "float32"),
        )

    def _training(self) -> TrainSpec:
        return TrainSpec(batch_size=self.config.batch_size, seed=self.config.seed)

    def _fault(self, entry: FaultEntry, shared: _Depth) -> SelfTestCase:
        case = SelfTestCase(
            framework=self.framework, depth=shared.setting.depth, name=entry.name, honest=False, flagged=False
        )
        if entry.shows_in == "inputs":
            return self._input_fault(case, shared)
        try:
            found = self._compare(play_fault, entry.name, shared, IN_DTYPE[entry.shows_in])
            return replace(self._judge(case, found), rules=self._rules(play_fault, entry.name, shared))
        except SideError as error:  # a crash is caught, but not named
            return replace(case, flagged=True, where=str(error))

    def _variant(self, name: str, shared: _Depth) -> SelfTestCase:
        case = SelfTestCase(framework=self.framework, depth=shared.setting.depth, name=name, honest=True, flagged=False)
        for dtype in self.side.call(describe).dtypes:
            case = self._judge(case, self._compare(play_variant, name, shared, dtype))
            if case.flagged:
                break
        return replace(case, rules=self._rules(play_variant, name, shared))

    def _compare(self, task: Callable, name: str, shared: _Depth, dtype: str) -> Comparison:
        side, episodes = self.threaded if name == TWO_THREADS else self.side, shared.episodes[dtype]
        played = side.call(task, name, episodes, dtype)
        question, seen = Question.SEMANTIC, shared.witnesses
        if dtype != "float64":
            question = Question.PRECISION
            seen = self.third.call(witness_all, episodes, unit_of(dtype), [shown.patterns for shown in played])
        asked = question, replace(shared.setting, dtype=dtype), episodes
        return compare_lockstep(*asked, {CANDIDATE: played}, {CANDIDATE: seen})

    def _judge(self, case: SelfTestCase, found: Comparison) -> SelfTestCase:
        first = next((m for m in found.measurements if not m.times_noise <= SAFETY), None)
        if first is None:
            return case
        causes = self.third.call(explain_role, found, CANDIDATE, unit_of(found.setting.dtype))
        where = f"{first.step}, {'' if first.layer is None else f'layer {first.layer}, '}{first.tensor}"
        return replace(case, flagged=True, named=_names(causes), where=where)

    def _input_fault(self, case: SelfTestCase, shared: _Depth) -> SelfTestCase:
        training = self._training()
        shown = self.side.call(present_fault, case.name, self.dataset, shared.spec, training)
        honest = record_inputs(NumpyBackend().inputs(self.dataset, shared.spec, training))
        pair = CANDIDATE, WITNESS
        found = list(compare_inputs(shared.setting, pair, shown, honest))
        first = next((m for m in found if not m.times_noise <= SAFETY), None)
        rules = objections([shown], [honest], [honest])
        if first is None:
            return replace(case, rules=rules)
        causes = explain_inputs(shared.setting, self.dataset, training, shared.spec, CANDIDATE, shown)
        return replace(case, flagged=True, named=_names(causes), where=f"inputs, {first.tensor}", rules=rules)

    def _rules(self, task: Callable, name: str, shared: _Depth) -> dict[str, bool]:
        played = self.side.call(task, name, shared.episodes["float32"], "float32")
        return objections(played[:-1], shared.honest[:-1], shared.exact[:-1])


def _names(causes: Sequence[Cause]) -> str | None:
    """Every cause, so that one too many is not right."""
    return " and ".join(cause.name for cause in causes) or None


def spec_of(target: str, threads: int = 1) -> SideSpec:
    """Return a side of the self-test, with that many threads, whatever the environment of this process says."""
    settings = tuple((name, str(threads)) for name in THREAD_SETTINGS)
    return SideSpec(target=target, time_limit=None, settings=settings)


def _variant_names(backend: Any) -> tuple[str, ...]:
    return tuple(backend.variants())
