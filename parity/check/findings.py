"""What a check has found so far, and the report that it makes of it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from parity.backend import backend_names
from parity.check.accepted import GONE, UNSEEN, gone_words, unseen_words
from parity.check.catalogue import CATALOGUE
from parity.check.config import CheckConfig
from parity.check.lockstep import CANDIDATE, REFERENCE
from parity.check.records import Cause, CheckReport, Equivalence, FreeRun, Measurement, Question
from parity.check.roles import About
from parity.process import THREAD_SETTINGS
from parity.verdict.compare import SAFETY, first_beyond
from parity.verdict.verdict import UNEXPLAINED, Verdict


@dataclass
class Findings:
    """What a check has found so far.

    Args:
        config: what was asked.
        names: of the sides, by role.
        measurements: see `CheckReport`, as of all that follow.
        not_asked: what could not be asked though it was asked for.
        seen: the accepted differences that the candidate was seen to have.
        gone: those that it was seen not to have.
    """

    config: CheckConfig
    names: Mapping[str, str]
    measurements: list[Measurement] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)
    not_asked: tuple[str, ...] = ()
    seen: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    free_runs: list[FreeRun] = field(default_factory=list)
    equivalences: list[Equivalence] = field(default_factory=list)
    about: dict[str, About] = field(default_factory=dict)
    failed: Question | None = None
    first: Measurement | None = None
    message: str = ""
    _explained: dict[bool, set[str]] = field(default_factory=dict)

    def leave_out(self, *reasons: str) -> None:
        """Keep what could not be compared, once."""
        self.missing.update(dict.fromkeys(reasons))

    def note(self, question: Question, found: list[Measurement]) -> bool:
        """Keep measurements; return whether one is beyond its limit."""
        self.measurements += found
        first = first_beyond(found)
        if first is None:
            return False
        self.failed = self.failed or question
        self.first = self.first or first
        return True

    def explain(self, question: Question, causes: tuple[Cause, ...]) -> None:
        """Keep causes that are new; and `unexplained` only where nothing else has been found.

        What the inputs show and what the network does with the witness's inputs are two things.
        """
        known = {(cause.side, cause.name) for cause in self.causes}
        sides = self._explained.setdefault(question is Question.INPUTS, set())
        fresh = [
            cause
            for cause in causes
            if (cause.side, cause.name) not in known and not (cause.name == UNEXPLAINED and cause.side in sides)
        ]
        sides |= {cause.side for cause in fresh}
        self.causes += fresh

    def fail(self, question: Question, message: str, role: str, name: str = UNEXPLAINED) -> None:
        """Keep a failure that is not one tensor's; it is a cause only where none has been found."""
        self.failed = self.failed or question
        if question is Question.CRASH:
            self.message = message
        if question is Question.CRASH or not self.causes:
            self.causes.append(Cause(name=name, evidence=message, side=role))

    def report(self, data_set: str, command: str) -> CheckReport:
        """Return the verdict on what was found."""
        if self.failed is None and not self.not_asked:
            self._check_judged()
            self._check_accepted()
        disagree = self.failed is not None
        if disagree and not self.causes:
            self.causes.append(Cause(name=UNEXPLAINED, evidence=self.message or "the two differ from each other only"))
        return CheckReport(
            config=self.config,
            reference=self.names[REFERENCE],
            candidate=self.names[CANDIDATE],
            verdict=Verdict.DISAGREE if disagree else Verdict.INCOMPLETE if self.not_asked else Verdict.AGREE,
            failed_question=self.failed,
            message=self.message,
            first_divergence=self.first,
            cause=self.causes[0] if disagree else None,
            other_causes=tuple(self.causes[1:]),
            measurements=tuple(self.measurements),
            free_runs=tuple(self.free_runs),
            equivalences=tuple(self.equivalences),
            not_compared=tuple(self.missing),
            not_asked=self.not_asked,
            environment=self._environment(data_set),
            safety=SAFETY,
            command=command,
            titles=self._titles(),
        )

    def _titles(self) -> dict[str, str]:
        """The titles of registered backends; what someone named otherwise keeps that name."""
        names = {role: name.partition(" with ")[0] for role, name in self.names.items()}
        return {names[role]: about.title for role, about in self.about.items() if names[role] in backend_names()}

    def _check_judged(self) -> None:
        """Fail if a side took no step, run or training that was judged."""
        both = any(run.judged and run.setting.dtype == "float64" for run in self.free_runs)
        both |= any(found.seeds for found in self.equivalences)
        judged = {role for m in self.measurements if m.question is not Question.INPUTS for role in m.pair}
        judged |= set(self.names if both else ())
        lost = [role for role in self.names if role not in judged]
        if lost:
            names = " nor of ".join(f"the {role} {self.names[role]}" for role in lost)
            words = "; ".join([f"nothing of {names} was compared", *self.missing])
            self.fail(Question(self.config.questions[0]), words, lost[0])

    def _check_accepted(self) -> None:
        """Fail if an accepted difference was seen nowhere: a check that does not need it must not pass with it."""
        for name in self.config.accept:
            if name not in self.seen:
                shows_in = CATALOGUE[name].shows_in
                question = shows_in if shows_in in ("inputs", *self.config.questions) else self.config.questions[0]
                words, cause = (gone_words(name), GONE) if name in self.gone else (unseen_words(name), UNSEEN)
                self.fail(Question(question), words, CANDIDATE, cause)

    def _environment(self, data_set: str) -> dict[str, Any]:
        return {
            "bnparity": version("bnparity"),
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "data set": data_set,
            "precision": self.config.precision,
            "device": self.config.device or "default",
            "threads": {name: os.environ.get(name, "1") for name in THREAD_SETTINGS},
            **{role: dict(about.versions) for role, about in self.about.items()},
        }
