"""The third question: do two trainings that are left to themselves stay together for as long as rounding allows?

Training can be chaotic: a difference of one ulp then grows until the two have nothing in common but their start, and no
fixed tolerance is honest. So the NumPy reference is trained once as it is, and as five twins in which every weight and
statistic is moved by one ulp before every update. Each tensor is divided by the largest RMS that the reference's own
has in the run, so that a running variance of 1e9 does not hide the rest. With states `s`, of the NumPy reference `r`
and of its twins `k`, after update `t`::

    distance_t  = RMS(s_t - s'_t)              for each two of candidate, reference and NumPy reference
    twins_t     = max_k RMS(k_t - r_t)
    travelled_t = RMS(r_t - r_0)
    judged      = the updates before the first with safety * twins_t >= travelled_t
    times_noise = max of distance_t / twins_t over the judged updates and the three pairs

From saturation on the limit would allow a network that was never trained, so nothing is judged there. No output of a
candidate enters its own limit.

Only float64 is judged. In float32 one honest implementation can jump from 1e-6 to 0.3 at a single ReLU kink that five
twins need not meet; such runs are reported.
"""

import math
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from parity.backend import Backend, Learner
from parity.check.config import CheckConfig
from parity.check.probes import Samples
from parity.check.records import FreeRun, Setting
from parity.check.words import times_words
from parity.data import mask_arguments
from parity.process import Side, SideError
from parity.reference import NumpyBackend
from parity.reference.rounding import move_state
from parity.spec import DType, ModelSpec
from parity.verdict.compare import rms_or_inf
from parity.verdict.noise import rms, unit_of
from parity.weights import Array, Weights, cast_weights, weight_shapes

HONEST = NumpyBackend()
TWINS = 5
WATCHED = 64  # numbers of each tensor: whole states would be 200 updates x 55,000 numbers at depth 1


def run_freely(
    backend: Backend,
    spec: ModelSpec,
    weights: Weights,
    samples: Samples,
    updates: int,
    learning_rate: float,
    dtype: DType,
) -> Array:
    """Train a backend on its own, and show its state before the first and after every update.

    Args:
        backend: the side.
        spec: the network.
        weights: the initial state.
        samples: gives the minibatches: update `t` takes `samples.batch(t)`.
        updates: how many.
        learning_rate: of plain SGD.
        dtype: the working dtype.

    Returns:
        `watch` of each state, shape (updates + 1, watched), float64.

    Raises:
        SideError: the state does not fit the network.
    """
    learner = backend.learner(spec, cast_weights(weights, dtype if dtype == "float64" else "float32"), dtype)
    return _trajectory(learner, spec, samples, updates, learning_rate)


def _trajectory(
    learner: Learner,
    spec: ModelSpec,
    samples: Samples,
    updates: int,
    learning_rate: float,
    disturb: Callable[[], None] = lambda: None,
) -> Array:
    states = [watch(learner.weights(), spec)]
    for update in range(updates):
        disturb()
        masks = mask_arguments(samples.masks(spec, update))
        learner.train_step(*samples.batch(update), learning_rate, **masks)
        states.append(watch(learner.weights(), spec))
    return np.stack(states)


def watch(weights: Weights, spec: ModelSpec) -> Array:
    """What is compared of a state: every vector whole up to 64 numbers, of larger tensors 64 spread evenly.

    A fault in an entry that is not among them still shows: in the next update it moves the gradient of every bias.

    Raises:
        SideError: a tensor is missing or has another shape.
    """
    parts = []
    for name, shape in weight_shapes(spec).items():
        if name not in weights or np.shape(weights[name]) != shape:
            raise SideError(f"its weights have no {name} of shape {shape} in a free run")
        flat = np.asarray(weights[name], np.float64).reshape(-1)
        parts.append(flat[np.linspace(0, flat.size - 1, min(flat.size, WATCHED), dtype=int)])
    return np.concatenate(parts)


def free_run(
    candidate: Side,
    reference: Side,
    config: CheckConfig,
    samples: Samples,
    spec: ModelSpec,
    weights: Weights,
    setting: Setting,
    safety: float,
    witness: NumpyBackend = HONEST,
) -> FreeRun:
    """Let both sides train on their own, in the setting's dtype, and measure how far apart they come.

    Args:
        candidate: the one side.
        reference: the other.
        config: gives the number of updates and the learning rate.
        samples: gives the minibatches, the same for all.
        spec: the network.
        weights: the initial state, that of the setting's seed.
        setting: the configuration; it is judged if its dtype is float64.
        safety: how many times the twins' distance is allowed.
        witness: the NumPy reference, with the accepted differences.

    Raises:
        SideError: a side raised, died, gave no answer in time, or gave one that does not fit the network.
    """
    updates, rate, dtype = config.free_run_updates, config.learning_rate, cast(DType, setting.dtype)
    unit = unit_of(dtype)
    start = cast_weights(cast_weights(weights, "float32"), "float64")  # a point that every dtype holds exactly
    of_candidate, of_reference = (
        side.call(run_freely, spec, start, samples, updates, rate, dtype) for side in (candidate, reference)
    )
    exact = _trajectory(witness.learner(spec, start, "float64"), spec, samples, updates, rate)
    scale = _sizes(exact, spec)

    def run_twin(seed: int) -> Array:
        learner, rng = witness.learner(spec, start, "float64"), np.random.default_rng(seed)

        def disturb() -> None:
            learner.move(lambda state: move_state(state, unit, rng))

        return _trajectory(learner, spec, samples, updates, rate, disturb)

    return measure(
        setting,
        distances=_apart(of_candidate, of_reference, scale),
        from_witness=np.stack([_apart(of_candidate, exact, scale), _apart(of_reference, exact, scale)]),
        twins=np.max([_apart(run_twin(seed), exact, scale) for seed in range(TWINS)], axis=0),
        travelled=_apart(exact, np.broadcast_to(exact[0], exact.shape), scale),
        safety=safety,
    )


def _sizes(states: Array, spec: ModelSpec) -> Array:
    """The largest RMS of each tensor in a run (1 if it is always 0), once for each number of it; shape (watched,)."""
    counts = [min(math.prod(shape), WATCHED) for shape in weight_shapes(spec).values()]
    tensors = np.split(states, np.cumsum(counts)[:-1], axis=1)
    with np.errstate(all="ignore"):
        sizes = np.array([[rms(state) for state in tensor] for tensor in tensors])
    largest = np.max(sizes, axis=1, initial=0.0, where=np.isfinite(sizes))
    return np.repeat(np.where(largest > 0, largest, 1.0), counts)


def _apart(states: Array, others: Array, scale: Array) -> Array:
    """RMS distance after each update, shape (updates,); infinite where a number is not finite."""
    with np.errstate(all="ignore"):
        return np.array([rms_or_inf((a - b) / scale) for a, b in zip(states[1:], others[1:], strict=True)])


def measure(
    setting: Setting, *, distances: Array, from_witness: Array, twins: Array, travelled: Array, safety: float
) -> FreeRun:
    """The record of a free run: where it is judged, how far apart it came, when the pairs lose each other.

    Args:
        setting: the configuration.
        distances: candidate from reference, shape (updates,).
        from_witness: candidate and reference from the NumPy reference, shape (2, updates).
        twins: the largest distance of the twins, shape (updates,).
        travelled: by the NumPy reference, shape (updates,).
        safety: how many times the twins' distance is allowed.
    """
    judged = _first(safety * twins >= travelled)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.vstack([distances, from_witness])[:, :judged] / twins[:judged]
    return FreeRun(
        setting=setting,
        distances=distances,
        from_witness=from_witness,
        twins=twins,
        travelled=travelled,
        horizon=horizon(distances, travelled),
        twin_horizon=horizon(twins, travelled),
        judged=judged,
        times_noise=float(np.max(ratios, initial=0.0)),
    )


def _first(hits: NDArray[np.bool_]) -> int:
    """The index of the first hit; the number of all where there is none."""
    return int(np.argmax(hits)) if hits.any() else len(hits)


def horizon(distances: Array, travelled: Array) -> int | None:
    """The number of updates after which two runs are first as far apart as the reference has travelled, or None."""
    update = _first(distances >= travelled)
    return update + 1 if update < len(distances) else None


def fails(run: FreeRun, safety: float) -> bool:
    """Whether two trainings came further apart than rounding allows; never in a dtype that is not judged."""
    return run.setting.dtype == "float64" and not run.times_noise <= safety


def describe(run: FreeRun, safety: float) -> str:
    """A sentence for people."""
    lost = "stay together" if run.horizon is None else f"have lost each other after {run.horizon} updates"
    own = "stay together" if run.twin_horizon is None else f"lose each other after {run.twin_horizon}"
    horizons = f"the two {lost} (one-ulp twins {own})"
    if run.setting.dtype != "float64":
        return f"{run.setting}: not judged in {run.setting.dtype}; {horizons}"
    if not run.judged:
        return f"{run.setting}: not judged, since rounding reaches all that training has changed at once; {horizons}"
    limits = np.vstack([run.distances, run.from_witness])[:, : run.judged] > safety * run.twins[: run.judged]
    if not fails(run, safety):
        return (
            f"{run.setting}: within {run.times_noise:.3g} of {safety:g} times the twins' distance "
            f"for {run.judged} of {len(run.twins)} updates; {horizons}"
        )
    update = _first(np.any(limits, axis=0))
    pairs = ("candidate and reference", "candidate and NumPy reference", "reference and NumPy reference")
    who = "; ".join(pair for pair, beyond in zip(pairs, limits[:, min(update, run.judged - 1)], strict=True) if beyond)
    return (
        f"{run.setting}: {times_words(run.times_noise)} the twins' distance, {safety:g} allowed; "
        f"first beyond it after update {update + 1}: {who}; {horizons}"
    )
