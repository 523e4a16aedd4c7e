"""Reports of checks that never ran, for the tests of what is made of a report."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from places import in_words

from parity.check.config import CheckConfig
from parity.check.records import Cause, CheckReport, Equivalence, FreeRun, Measurement, Question, Setting
from parity.verdict.verdict import Verdict

SAFETY = 64.0
EVIDENCE = "running variance is biased: increment ratio 0.96875 = 31/32"


def setting(depth: int = 3, batch_norm: bool = True, seed: int = 0, dtype: str = "float64") -> Setting:
    return Setting(depth=depth, batch_norm=batch_norm, seed=seed, dtype=dtype)


def measurement(times_noise: float, **fields) -> Measurement:
    """One of a tensor of size 1 and noise floor 2**-50."""
    given: dict[str, Any] = {
        "question": Question.SEMANTIC,
        "setting": setting(),
        "pair": ("candidate", "reference"),
        "step": 0,
        "key": in_words(2, "running variance"),
        "order": 7,
        "distance": times_noise * 2.0**-50,
        "floor": 2.0**-50,
        "size": 1.0,
        "times_noise": times_noise,
    }
    return Measurement(**(given | fields))


def agreeing(**fields) -> CheckReport:
    """Two settings of two questions, all within the limit."""
    measurements = [
        measurement(times, setting=setting(depth, dtype=dtype), question=question, key=in_words(2, tensor))
        for question, dtype in ((Question.SEMANTIC, "float64"), (Question.PRECISION, "float32"))
        for depth in (1, 25)
        for times, tensor in ((0.5, "activation"), (3.25, "gradient of kernel"))
    ]
    given: dict[str, Any] = {
        "config": CheckConfig(depths=(1, 25), batch_norm=(True,)),
        "reference": "torch",
        "candidate": "jax",
        "verdict": Verdict.AGREE,
        "measurements": tuple(measurements),
        "safety": SAFETY,
        "seconds": 12.5,
        "command": "bnparity check --depths 1 25",
        "environment": {"numpy": "2.4.6", "threads": np.int64(2), "x64": np.bool_(True), "load": math.nan},
        "not_compared": ("activations of the hidden layers",),
    }
    return CheckReport(**(given | fields))


def disagreeing(**fields) -> CheckReport:
    """A semantic question that failed at depth 25, by far."""
    first = measurement(1.25e13, setting=setting(25), step=np.int64(3))
    good = agreeing()
    given: dict[str, Any] = {
        "verdict": Verdict.DISAGREE,
        "failed_question": Question.SEMANTIC,
        "first_divergence": first,
        "measurements": (*good.measurements, first),
        "cause": Cause(
            name="biased_running_variance",
            evidence=EVIDENCE,
            predicted=np.array([1.0, math.nan]),
            observed=np.array([0.9, 2.0]),
            axes="running variance",
        ),
        "other_causes": (Cause(name="fast_variance", evidence="the error grows with mean^2 / variance"),),
    }
    return replace(good, **(given | fields))


def crashed(message: str = "raised RuntimeError: out of memory") -> CheckReport:
    """A candidate that gave no answer at all."""
    return agreeing(
        verdict=Verdict.DISAGREE, failed_question=Question.CRASH, message=message, measurements=(), not_compared=()
    )


def with_long_runs(report: CheckReport) -> CheckReport:
    """With a free run and two statistical answers."""
    run = FreeRun(
        setting=setting(8),
        distances=np.array([1e-15, math.inf]),
        twins=np.array([1e-15, 2e-15]),
        from_witness=np.array([1e-15, 1e-15]),
        travelled=np.array([0.1, 0.2]),
        judged=1,
        horizon=None,
        twin_horizon=np.int64(120),  # pyright: ignore[reportArgumentType]
        times_noise=1.5,
    )
    answer = Equivalence(
        setting=setting(8, dtype="float32"),
        quantity="divergent learning rate",
        outcome="inconclusive",
        mean=0.01,
        low=-0.02,
        high=math.nan,
        margin=0.03,
        seeds=12,
        seeds_needed=31,
        note="seed 3 never diverged",
        candidate=np.linspace(0.0, 1.0, 12),
        reference=np.linspace(0.0, 1.0, 12),
    )
    accuracy = replace(answer, quantity="test accuracy", outcome="equivalent", high=0.02, seeds_needed=None, note="")
    return replace(report, free_runs=(run,), equivalences=(answer, accuracy))
