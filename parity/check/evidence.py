"""The fitted numbers behind a named cause, in a sentence, and what of it can be drawn."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from parity.check.fits import Case, Values, as_fraction, slope, solved_decay
from parity.verdict.trace import Array, Kind
from parity.weights import STATISTICS

DRAWN = 1024  # points of a drawing at most


class Evidence(NamedTuple):
    """A sentence, and two arrays of the same shape to be drawn against each other."""

    sentence: str
    predicted: Array | None = None
    observed: Array | None = None
    axes: str = ""


def _running_variance(case: Case, values: Values) -> Evidence:
    unbiased = case.spec.running_variance == "unbiased"
    n = len(case.episode.batches[0][0])
    predicted = (1 - case.spec.decay) * case.batch_variances(ddof=1 if unbiased else 0)
    observed = case.increments("running_var")
    kind = "biased" if unbiased else "unbiased"
    ratio = as_fraction(slope(observed, predicted), n)
    return Evidence(
        f"running variance is {kind}: increment ratio {ratio}", predicted, observed, "increment of the running variance"
    )


def _of_statistics(case: Case, sentence: str) -> Evidence:
    """Return a sentence about the running statistics, and a drawing of them."""
    names = [f"hidden.{i}.{leaf}" for i in case.layers for leaf in STATISTICS]
    predicted, observed = (np.concatenate([c.weight(name, 1) for name in names]) for c in (case.honest, case))
    return Evidence(sentence, predicted, observed, "running statistics after one update")


def _decay(case: Case, values: Values) -> Evidence:
    decay = solved_decay(case)
    return _of_statistics(case, f"the decay solved from one update is {decay:.6g}; the spec's is {case.spec.decay:g}")


def _double(case: Case, values: Values) -> Evidence:
    decay, own = solved_decay(case), case.spec.decay
    return _of_statistics(
        case,
        f"the decay solved from one update is {decay:.6g} = {own:g} squared: the statistics are written twice per step "
        f"(a plain decay of {decay:.6g} is the same mathematics)",
    )


def _changing(case: Case, values: Values) -> Evidence:
    decays = [solved_decay(case, update) for update in range(len(case.episode.batches))]
    listed = ", ".join(f"{abs(decay):.4g}" for decay in decays)
    return _of_statistics(
        case, f"the decays solved from updates 1 to {len(decays)} are {listed}; the spec's is {case.spec.decay:g}"
    )


def _epsilon(case: Case, values: Values) -> Evidence:
    return Evidence(f"the norm's output fits epsilon {values['eps']:.6g}; the spec's is {case.spec.eps:g}")


def _valued(sentence: str) -> Callable[[Case, Values], Evidence]:
    def evidence(case: Case, values: Values) -> Evidence:
        words = {n: f"{value:.6g}" if isinstance(value, float) else value for n, value in values.items()}
        return Evidence(sentence.format(**words))

    return evidence


def _normalizer_scale(case: Case, values: Values) -> Evidence:
    n, layer = len(case.episode.batches[0][0]), case.layers[0]
    beta = case.weight(f"hidden.{layer}.beta", 0)
    honest, observed = (c.shown(Kind.ACTIVATION, f"hidden.{layer}.norm") - beta for c in (case.honest, case))
    ratio = slope(observed, honest)
    return Evidence(
        f"the norm's output in layer {layer} is scaled by {ratio:.6g}; sqrt((n-1)/n) is {np.sqrt((n - 1) / n):.6g}",
        honest.ravel()[:DRAWN],
        observed.ravel()[:DRAWN],
        f"norm's output in layer {layer}",
    )


def _summed(case: Case, values: Values) -> Evidence:
    n = len(case.episode.batches[0][0])
    predicted, observed = (np.concatenate([c.gradient(x).ravel() for x in c.trained()]) for c in (case.honest, case))
    step = max(1, len(predicted) // DRAWN)
    return Evidence(
        f"all gradients are scaled by {slope(observed, predicted):.6g}; the batch has {n} samples",
        predicted[::step],
        observed[::step],
        "gradients",
    )


def _weight_decay(case: Case, values: Values) -> Evidence:
    of = "every kernel" if values.get("kernels_only") else "the weight"
    return Evidence(f"the update holds {values['coefficient']:.6g} times {of}")


EVIDENCE: dict[str, Callable[[Case, Values], Evidence]] = {
    "biased_running_variance": _running_variance,
    "unbiased_running_variance": _running_variance,
    "swapped_momentum": _decay,
    "default_momentum": _decay,
    "last_batch_statistics": _decay,
    "frozen_running_statistics": _decay,
    "wrong_decay": _decay,
    "double_update": _double,
    "cumulative_average": _changing,
    "debiased_statistics": _changing,
    "stale_statistics": _changing,
    "wrong_epsilon": _epsilon,
    "unbiased_normalizer": _normalizer_scale,
    "summed_loss": _summed,
    "label_smoothing": _valued("the loss fits a smoothing of {smoothing}"),
    "weight_decay": _weight_decay,
    "momentum_and_decay": _valued("the update holds {coefficient} times the weight, with momentum {momentum}"),
    "nesterov": _valued("the first update is 1 + {momentum} times the gradient, and the next hold the velocity"),
    "warmup": _valued("the learning rate rises linearly over {updates} updates"),
    "clipped_gradients": _valued("the gradients are clipped to a global norm of {max_norm}"),
    "clipped_gradient_values": _valued("no element of a gradient is taken beyond {limit}"),
    "untrained_parameter": _valued("the gradient of {parameter} is 0"),
    "statistics_of_another_layer": _valued(
        "hidden layer {target} takes in the batch statistics of hidden layer {source}"
    ),
    "leaky_slope": _valued("negative pre-activations are multiplied by {slope}"),
    "clipped_activation": _valued("no activation is above {limit}"),
    "relu_at_zero": _valued("ReLU's derivative at exactly 0 is {derivative}"),
    "clipped_log": _valued("the loss takes no probability below {least}"),
    "heavy_ball": _valued("the second update holds {momentum} times the first gradient"),
    "scaled_learning_rate": _valued("every update is {factor} times what the learning rate asks for"),
    "padded_batch": _valued("partial batches are padded with zero rows to a multiple of {size}"),
}
