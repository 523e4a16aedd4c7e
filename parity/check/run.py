"""The check itself: the questions, one after the other, and the verdict."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from parity.backend import Backend, sibling_names
from parity.check import free_run, statistical
from parity.check.config import CheckConfig
from parity.check.diagnose import explain_role
from parity.check.lockstep import (
    CANDIDATE,
    REFERENCE,
    WITNESS,
    Comparison,
    RoleError,
    has_vanished,
    precision,
    semantic,
)
from parity.check.presented import compare_inputs, explain_inputs, present, record_inputs
from parity.check.probes import Samples, draw_samples, precision_episodes, samples_of, semantic_episodes
from parity.check.records import (
    UNEXPLAINED,
    Cause,
    CheckReport,
    Equivalence,
    FreeRun,
    Measurement,
    Question,
    Setting,
    Verdict,
)
from parity.data import Dataset, load_dataset
from parity.errors import InputError
from parity.process import THREAD_SETTINGS, Side, SideError
from parity.progress import Progress, SilentProgress
from parity.reference import NumpyBackend
from parity.sides import SideSpec, open_side
from parity.spec import ModelSpec, TrainSpec
from parity.verdict.compare import SAFETY, first_beyond
from parity.verdict.noise import unit_of
from parity.verdict.trace import Trace
from parity.weights import Weights, draw_weights

NOT_REPEATABLE, VANISHED = "not_repeatable", "vanished_signal"


def check(
    reference: Any = None,
    candidate: Any = None,
    *,
    config: CheckConfig | None = None,
    fault: str | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    command: str | None = None,
) -> CheckReport:
    """Do two implementations compute the same? If not: where first, how far, and why.

    Args:
        reference: the name of a backend, "package.module:factory", or an object with `learner` (`parity.Backend`);
            None for the last of `parity.backend.sibling_names`. Names run in processes of their own, objects in this
            one.
        candidate: the same; None for the first of them.
        config: what to compare.
        fault: of the catalogue, to be put into the candidate.
        data_dir: where the files of the data set lie; None to look in the usual places.
        progress: is told how far the check is.
        command: what made it, for the report.

    Raises:
        InputError: bad input, or a side that cannot start.

    Example::

        report = parity.check(candidate="mypackage.port:make_backend")
        print(report.verdict, report.cause)
    """
    config, siblings = config or CheckConfig(), sibling_names()
    targets = {CANDIDATE: siblings[0] if candidate is None else candidate}
    targets[REFERENCE] = siblings[-1] if reference is None else reference
    started = time.perf_counter()
    dataset = load_dataset(config.dataset, data_dir)
    if fault is not None:
        _check_fault(fault, config)
    # It asks in a thread, so that Ctrl-C ends the sides at once, and with them the thread.
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        sides = {
            role: stack.enter_context(open_side(_side_spec(target, config, fault if role == CANDIDATE else None)))
            for role, target in targets.items()
        }
        third = stack.enter_context(open_side(SideSpec(target=NumpyBackend.name, time_limit=None)))
        stack.enter_context(progress := progress or SilentProgress())
        asked = _Check(config, sides, third, dataset, progress)
        try:
            pool.submit(asked.ask).result()
        except RoleError as failure:
            asked.fail(Question.CRASH, str(failure), failure.role)
        progress.update(1.0, "done")
    report = asked.report(command or "parity.check(...)")
    return replace(report, seconds=time.perf_counter() - started)


def _check_fault(fault: str, config: CheckConfig) -> None:
    from parity.check.catalogue import CATALOGUE

    if fault not in CATALOGUE:
        raise InputError(f"no fault is named {fault!r}; choose one of {', '.join(CATALOGUE)}")
    specs = [_spec(config, depth, norm) for depth, norm in product(config.depths, config.batch_norm)]
    if not any(CATALOGUE[fault].applies(spec) for spec in specs):
        raise InputError(
            f"the fault {fault!r} ({CATALOGUE[fault].what}) does not apply to any of the networks that are asked for; "
            "choose other depths, or with batch norm"
        )


def _side_spec(target: Any, config: CheckConfig, fault: str | None) -> SideSpec:
    return SideSpec(
        target=target,
        faults=((fault, ()),) if fault else (),
        device=config.device,
        precision=config.precision,
        time_limit=config.time_limit,
    )


def _spec(config: CheckConfig, depth: int, batch_norm: bool) -> ModelSpec:
    return replace(config.spec, num_hidden_layers=depth, use_batch_norm=batch_norm)


@dataclass(frozen=True)
class _About:
    """What a side says of itself."""

    versions: Mapping[str, str]
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class _Told:
    """A side whose errors tell which role it has."""

    role: str
    side: Side

    @property
    def name(self) -> str:
        return self.side.name

    def call(self, task: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self.side.call(task, *arguments)
        except SideError as error:
            raise RoleError(self.role, f"the {self.role} {self.name} {error}") from error


def _describe(backend: Backend) -> _About:
    versions = backend.versions()
    # Plain text: an object of a class of the candidate's would need its module here.
    dtypes = backend.dtypes
    return _About({str(k): "".join(str(v)) for k, v in versions.items()}, tuple("".join(d) for d in dtypes))


@dataclass
class _Check:
    """A check under way: what it has found so far."""

    config: CheckConfig
    sides: Mapping[str, Side]
    third: Side
    dataset: Dataset
    progress: Progress
    measurements: list[Measurement] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)
    free_runs: list[FreeRun] = field(default_factory=list)
    equivalences: list[Equivalence] = field(default_factory=list)
    about: dict[str, _About] = field(default_factory=dict)
    failed: Question | None = None
    first: Measurement | None = None
    message: str = ""

    def ask(self) -> None:
        """The inputs of every configuration, then every question of every configuration."""
        self.about = {role: self._call(role, _describe) for role in self.sides}
        depths, seeds = sorted(self.config.depths), range(self.config.seed, self.config.seed + self.config.num_seeds)
        settings = [
            (Setting(depth=depth, batch_norm=norm, seed=seed), _spec(self.config, depth, norm))
            for depth, norm, seed in product(depths, self.config.batch_norm, seeds)
        ]
        for setting, spec in settings:
            self._ask_inputs(setting, spec)
        total, done = sum(setting.depth + 2 for setting, _ in settings) * len(self.config.questions), 0
        for question in self.config.questions:
            for setting, spec in settings:
                self.progress.update(done / total, f"{question.replace('_', ' ')}: {setting}")
                getattr(self, f"_ask_{question}")(setting, spec)
                done += setting.depth + 2

    def _call(self, role: str, task: Any, *arguments: Any) -> Any:
        return _Told(role, self.sides[role]).call(task, *arguments)

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

    def _ask_semantic(self, setting: Setting, spec: ModelSpec) -> None:
        sides = {role: side for role, side in self.sides.items() if self._offers(role, setting.dtype)}
        if sides:
            episodes = semantic_episodes(*self._asked(setting, spec))
            self._judge(semantic(sides, self.third, setting, episodes), "float64")

    def _asked(self, setting: Setting, spec: ModelSpec) -> tuple[Any, ...]:
        """What the episodes of a setting are made of."""
        config = self.config
        weights, samples = self._start(setting, spec)
        is_first = (setting.depth, setting.seed) == (min(config.depths), config.seed)
        return spec, weights, samples, config.learning_rate, config.sampled_steps, setting.seed, is_first

    def _offers(self, role: str, dtype: str) -> bool:
        if dtype in self.about[role].dtypes:
            return True
        self.missing[f"{role} {self.sides[role].name} does not offer {dtype}"] = None
        return False

    def _ask_inputs(self, setting: Setting, spec: ModelSpec) -> None:
        if not self._fits_dataset(spec):
            self.missing["inputs: the network fits no data set, so each side was handed random ones"] = None
            return
        training = self._training(setting)
        expected = record_inputs(NumpyBackend().inputs(self.dataset, spec, training))
        for role in self.sides:
            shown: Trace | None = self._call(role, present, self.dataset, spec, training)
            if shown is None:
                self.missing[f"{role} {self.sides[role].name} does not present its own inputs"] = None
                continue
            try:
                found = list(compare_inputs(setting, (role, WITNESS), shown, expected))
            except SideError as error:
                raise RoleError(role, f"the {role} {self.sides[role].name} {error}") from error
            if self._note(Question.INPUTS, found):
                self._explain(explain_inputs(setting, self.dataset, training, spec, role, shown))

    def _ask_precision(self, setting: Setting, spec: ModelSpec) -> None:
        for dtype in self.config.dtypes:
            sides = {role: side for role, side in self.sides.items() if self._offers(role, dtype)}
            if sides:
                bits = unit_of(dtype, self.config.precision).bits
                episodes = precision_episodes(*self._asked(setting, spec), bits)
                asked = replace(setting, dtype=dtype), episodes, dtype, self.config.precision
                self._judge(precision(sides, self.third, *asked), dtype)

    def _judge(self, found: Comparison, dtype: Any) -> None:
        """Take in what lockstep found; explain the first configuration of each question that fails."""
        self.missing.update(dict.fromkeys(sorted(found.not_compared)))
        fresh = all(m.times_noise <= SAFETY for m in self.measurements if m.question is found.question)
        for role in sorted(found.unrepeatable):
            words = f"the {role} {self.sides[role].name} gives two answers to one question"
            self.fail(found.question, words, role, NOT_REPEATABLE)
        if has_vanished(found):
            words = f"{found.setting}: the gradient of the first layer is no larger than its rounding, so nothing shows"
            self.fail(found.question, words, CANDIDATE, VANISHED)
        if self._note(found.question, list(found.measurements)) and fresh:
            unit = unit_of(dtype, self.config.precision)
            for role in found.traces:
                self._explain(self.third.call(explain_role, found, role, unit))

    def _explain(self, causes: tuple[Cause, ...]) -> None:
        """Keep causes that are new; what stays unexplained is one only where nothing else has been found."""
        known = {(cause.side, cause.name) for cause in self.causes}
        sides = {cause.side for cause in self.causes}
        self.causes += [
            cause
            for cause in causes
            if (cause.side, cause.name) not in known and not (cause.name == UNEXPLAINED and cause.side in sides)
        ]

    def _note(self, question: Question, found: list[Measurement]) -> bool:
        """Keep measurements; whether one is beyond its limit."""
        self.measurements += found
        first = first_beyond(found)
        if first is None:
            return False
        self.failed = self.failed or question
        self.first = self.first or first
        return True

    def _ask_free_run(self, setting: Setting, spec: ModelSpec) -> None:
        weights, samples = self._start(setting, spec)
        for dtype in dict.fromkeys(("float64", *self.config.dtypes)):
            if not all(self._offers(role, dtype) for role in self.sides):
                continue
            found = self._both(free_run.free_run, samples, spec, weights, replace(setting, dtype=dtype), SAFETY)
            self.free_runs.append(found)
            if found.judged == 0:
                words = f"free run, {found.setting}: rounding alone could have made anything from the first update on"
                self.missing[words] = None
            if free_run.fails(found, SAFETY):
                self.fail(Question.FREE_RUN, free_run.describe(found, SAFETY), CANDIDATE)

    def _ask_statistical(self, setting: Setting, spec: ModelSpec) -> None:
        if setting.seed != self.config.seed:  # it has seeds of its own
            return
        if not self._fits_dataset(spec):
            self.missing["statistical: the network fits no data set"] = None
            return
        data = NumpyBackend().inputs(self.dataset, spec, self._training(setting))
        offered = (d for d in self.config.dtypes if all(self._offers(role, d) for role in self.sides))
        dtype = next(offered, None)
        if dtype is None:
            self.missing["statistical: the two have no working dtype in common"] = None
            return
        found = self._both(statistical.statistical, data, spec, replace(setting, dtype=dtype))
        self.equivalences += found
        for result in found:
            if result.outcome == "different":
                words = f"{result.quantity} differs by {result.mean:.3g}, beyond the margin of {result.margin:.3g}"
                self.fail(Question.STATISTICAL, words, CANDIDATE)

    def _both(self, question: Any, *arguments: Any) -> Any:
        candidate, reference = (_Told(role, self.sides[role]) for role in (CANDIDATE, REFERENCE))
        return question(candidate, reference, self.config, *arguments)

    def fail(self, question: Question, message: str, role: str, name: str = UNEXPLAINED) -> None:
        """A failure that is not one tensor's; it is no cause of its own where one has been found."""
        self.failed = self.failed or question
        if question is Question.CRASH:
            self.message = message
        if question is Question.CRASH or not self.causes:
            self.causes.append(Cause(name=name, evidence=message, side=role))

    def report(self, command: str) -> CheckReport:
        """The verdict on what was found."""
        if self.failed is None:
            judged = self._judged()
            lost = [role for role in self.sides if role not in judged]
            if lost:
                names = " nor of ".join(f"the {role} {self.sides[role].name}" for role in lost)
                words = "; ".join([f"nothing of {names} was compared", *self.missing])
                self.fail(Question(self.config.questions[0]), words, lost[0])
        agree = self.failed is None
        if not agree and not self.causes:
            self.causes.append(Cause(name=UNEXPLAINED, evidence=self.message or "the two differ from each other only"))
        return CheckReport(
            config=self.config,
            reference=self.sides[REFERENCE].name,
            candidate=self.sides[CANDIDATE].name,
            verdict=Verdict.AGREE if agree else Verdict.DISAGREE,
            failed_question=self.failed,
            message=self.message,
            first_divergence=self.first,
            cause=None if agree else self.causes[0],
            other_causes=tuple(self.causes[1:]),
            measurements=tuple(self.measurements),
            free_runs=tuple(self.free_runs),
            equivalences=tuple(self.equivalences),
            not_compared=tuple(self.missing),
            environment=self._environment(),
            safety=SAFETY,
            command=command,
        )

    def _judged(self) -> set[str]:
        """The roles of which a step, a run or a training was judged."""
        both = any(run.judged and run.setting.dtype == "float64" for run in self.free_runs) or self.equivalences
        found = {role for m in self.measurements if m.question is not Question.INPUTS for role in m.pair}
        return found | set(self.sides if both else ())

    def _environment(self) -> dict[str, Any]:
        return {
            "bnparity": version("bnparity"),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "data set": self.dataset.name,
            "precision": self.config.precision,
            "device": self.config.device or "default",
            "threads": {name: os.environ.get(name, "1") for name in THREAD_SETTINGS},
            **{role: dict(about.versions) for role, about in self.about.items()},
        }
