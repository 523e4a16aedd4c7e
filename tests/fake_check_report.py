"""Check reports that look like real ones, without any framework."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from places import in_words

from parity.check.config import CheckConfig
from parity.check.records import Cause, CheckReport, Equivalence, FreeRun, Measurement, Question, Setting
from parity.verdict.verdict import Verdict

SAFETY = 128.0
PROBES = ("batch_of_2", "partial_batch", "low_variance", "large_mean", "constant_channel", "dead_channel",
          "batch_equals_width", "batch_mate_swap", "batch_of_one")  # fmt: skip
STEPS: tuple[int | str, ...] = (0, 1, 2, 3, 4, 10, *(f"probe:{name}" for name in PROBES))
COMMAND = "bnparity check --preset full --reference torch --candidate jax --html check.html"


def tensors(setting: Setting) -> Iterator[tuple[Any, str]]:
    """Layer and tensor of one step, in causal order, as `parity.check.episode` names them."""
    layers = range(setting.depth)
    norm = setting.batch_norm
    for i in layers:
        yield from ((i, name) for name in ("pre-activation", "activation", *(["norm output"] if norm else [])))
        yield from ((i, name) for name in (["running mean", "running variance"] if norm else []))
    yield "head", "logits"
    yield None, "loss"
    leaves = [*((i, leaf) for i in layers for leaf in ("kernel", "bias", *(["gamma", "beta"] if norm else []))),
              ("head", "kernel"), ("head", "bias")]  # fmt: skip
    yield from ((layer, f"gradient of {leaf}") for layer, leaf in reversed(leaves))
    yield from ((layer, f"updated {leaf}") for layer, leaf in leaves)
    yield from ((i, f"evaluated {name}") for i in layers for name in ("pre-activation", "activation"))
    yield "head", "evaluated logits"
    yield from ((i, "running mean after evaluation") for i in layers if norm)


def measurements(question: Question, setting: Setting, pair: tuple[str, str]) -> Iterator[Measurement]:
    """Honest measurements: a few times the floor, and a floor that rises with depth."""
    rng = np.random.default_rng([setting.depth, setting.batch_norm, setting.seed, len(question)])
    ulp = 2.0**-52 if setting.dtype == "float64" else 2.0**-23
    for step in STEPS:
        for order, (layer, tensor) in enumerate(tensors(setting)):
            deep = layer if isinstance(layer, int) else setting.depth
            floor = ulp * (1 + deep) * math.exp(0.25 * deep * setting.batch_norm)
            after = tensor.endswith("after evaluation")
            ratio = 0.0 if after else float(rng.lognormal(-0.2, 0.7))
            yield Measurement(
                question=question, setting=setting, pair=pair, step=step, key=in_words(layer, tensor), order=order,
                distance=ratio * floor, floor=floor, size=0.0 if after else float(rng.uniform(0.2, 3)),
                times_noise=ratio,
            )  # fmt: skip


def settings(depths: tuple[int, ...], seeds: int = 1, dtype: str = "float64") -> list[Setting]:
    return [Setting(depth=depth, batch_norm=norm, seed=seed, dtype=dtype)
            for depth in depths for norm in (True, False) for seed in range(seeds)]  # fmt: skip


def agreeing(depths: tuple[int, ...] = (1, 8), seeds: int = 1, **changes: Any) -> CheckReport:
    """A check in which both compute the same."""
    found = [
        m
        for setting in settings(depths, seeds)
        for m in measurements(Question.SEMANTIC, setting, ("candidate", "reference"))
    ]
    for setting in settings(depths, seeds, "float32"):
        found += measurements(Question.PRECISION, setting, ("candidate", "witness"))
        found += measurements(Question.PRECISION, setting, ("reference", "witness"))
    values: dict[str, Any] = {
        "config": CheckConfig(depths=depths, num_seeds=seeds), "reference": "torch", "candidate": "jax",
        "verdict": Verdict.AGREE, "measurements": tuple(found), "safety": SAFETY, "command": COMMAND, "seconds": 42.5,
        "environment": {"python": "3.12.1", "candidate": {"jax": "0.10.2", "x64": True}, "threads": 2, "gpu": None},
        "not_compared": ("activations in evaluation: torch does not show them",),
    }  # fmt: skip
    return CheckReport(**(values | changes))


def change(report: CheckReport, which: Callable[[Measurement], bool], **changes: Any) -> CheckReport:
    """The report with some of its measurements changed."""
    return replace(report, measurements=tuple(replace(m, **changes) if which(m) else m for m in report.measurements))


def disagreeing(depths: tuple[int, ...] = (1, 8)) -> CheckReport:
    """A check of a candidate whose running variance is biased."""

    def is_faulty(m: Measurement) -> bool:
        return m.question is Question.SEMANTIC and m.tensor == "running variance"

    report = change(agreeing(depths), is_faulty, distance=0.031, times_noise=2.5e12)
    first = next(m for m in report.measurements if is_faulty(m))
    predicted = np.random.default_rng(0).gamma(2.0, 0.02, 64)
    cause = Cause(
        name="biased_running_variance", evidence="running variance is biased: increment ratio 0.96875 = 31/32",
        predicted=predicted, observed=predicted * 31 / 32, axes="running variance increment, per channel",
    )  # fmt: skip
    other = Cause(name="fast_variance", evidence="the error grows with mean^2/variance on the large-mean probe")
    return replace(
        report, verdict=Verdict.DISAGREE, failed_question=Question.SEMANTIC, first_divergence=first, cause=cause,
        other_causes=(other,),
    )  # fmt: skip


def crashed(message: str = "raised ValueError: shapes (32, 64) and (32, 10) do not match") -> CheckReport:
    """A check whose candidate raised before anything could be compared."""
    return agreeing(
        measurements=(), verdict=Verdict.DISAGREE, failed_question=Question.CRASH, message=message,
        cause=Cause(name="unexplained", evidence="no fault of the catalogue makes a side raise this"),
    )  # fmt: skip


def free_run(setting: Setting, updates: int = 200, chaotic: bool = False, times_noise: float = 3.1) -> FreeRun:
    """Two trainings that drift apart: slowly, or exponentially until they have nothing in common."""
    rng, steps = np.random.default_rng(setting.depth), np.arange(updates)
    travelled = 0.002 * np.sqrt(steps + 1)
    growth = np.exp(np.minimum(steps * 1.5, 600)) if chaotic else (steps + 1.0) ** 1.5
    twins = np.minimum(1e-17 * growth, travelled) * rng.lognormal(0, 0.1, updates)
    distances = np.minimum(1e-17 * times_noise * growth, travelled) * rng.lognormal(0, 0.1, updates)
    distances[0] = 0.0
    horizon = int(np.argmax(twins >= travelled)) if chaotic else None
    limit = SAFETY * twins >= travelled
    return FreeRun(
        setting=setting, distances=distances, from_witness=np.stack([0.8 * distances, 0.5 * distances]), twins=twins,
        travelled=travelled, horizon=horizon, twin_horizon=None if horizon is None else horizon + 1,
        judged=int(np.argmax(limit)) if limit.any() else updates, times_noise=times_noise,
    )  # fmt: skip


def equivalence(setting: Setting, quantity: str, outcome: str, mean: float, half: float, margin: float) -> Equivalence:
    """A statistical answer."""
    rng = np.random.default_rng(len(quantity))
    reference = rng.normal(0.5, 2 * margin, 12)
    return Equivalence(
        setting=setting, quantity=quantity, outcome=outcome, mean=mean, low=mean - half, high=mean + half,
        margin=margin, seeds=12, seeds_needed=40 if outcome == "inconclusive" else None,
        candidate=reference + rng.normal(mean, half, 12), reference=reference,
    )  # fmt: skip


def running_free() -> CheckReport:
    """A check that also asked for a free run and for statistics, and found a difference in the latter."""
    shallow, deep = (Setting(depth=depth, batch_norm=True, seed=0) for depth in (3, 25))
    single = replace(shallow, dtype="float32")
    return agreeing(
        (3,),
        free_runs=(free_run(shallow), free_run(deep, chaotic=True)),
        equivalences=(
            equivalence(single, "final loss", "equivalent", 0.0004, 0.001, 0.004),
            equivalence(single, "test accuracy", "different", -0.02, 0.004, 0.005),
            equivalence(single, "divergent learning rate", "inconclusive", 0.05, 0.3, 0.2),
        ),
        verdict=Verdict.DISAGREE, failed_question=Question.STATISTICAL,
        cause=Cause(name="unexplained", evidence="nearest fit: label_smoothing"),
    )  # fmt: skip
