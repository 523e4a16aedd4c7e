"""The network of the reference: forward, backward and one update."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend import Step
from parity.data import Masks, check_masks
from parity.reference.parts import Forward, Parts, Pattern
from parity.spec import BlockOrder, ModelSpec
from parity.weights import AFFINE, LINEAR, STATISTICS, Array, Weights, is_statistic

HONEST = Parts()
Pullback = Callable[[Array], tuple[Array, Weights]]


@dataclass(frozen=True)
class State:
    """A network and all that training changes.

    Args:
        spec: its conventions.
        weights: every weight and running statistic, by neutral name.
        memory: the optimizer's own.
        held: statistics and gradients that a fault keeps for a later update.
        update: the number of the last update, from 1; 0 before any.
    """

    spec: ModelSpec
    weights: Weights
    memory: Weights = field(default_factory=dict)
    held: Weights = field(default_factory=dict)
    update: int = 0


def forward(
    spec: ModelSpec,
    weights: Weights,
    parts: Parts,
    pattern: Pattern | None,
    inputs: Array,
    train: bool,
    masks: Masks | None = None,
    forced: Weights | None = None,
) -> Forward:
    """Run the network forward.

    Args:
        spec: the network.
        weights: by neutral name.
        parts: what it is assembled from.
        pattern: the active units of each ReLU, in place of its own (`z > 0`).
        inputs: shape (..., batch, input_dim).
        train: normalize by the batch's statistics, and update the running ones; drop units.
        masks: of dropout, where the network trains with it.
        forced: values that take an activation's place once it has been shown, so that what follows is judged alone.
    """
    x, statistics, activations, forced = inputs, {}, {}, forced or {}
    pullbacks: list[Pullback] = []
    for i in range(spec.num_hidden_layers):
        mask = masks[i] if train and masks is not None else None
        own = parts.layers.get(i, parts)
        block = own.conventions(spec) if i in parts.layers else spec, i, layer_weights(weights, i), own, pattern or {}
        x, pullback, updated, shown = _block(*block, x, train, mask, forced)
        statistics |= updated
        activations |= shown
        pullbacks.append(pullback)
    head = {leaf: weights[f"head.{leaf}"] for leaf in ("kernel", "bias")}
    logits, pullback, _ = _linear(spec, head, parts, None, x, train)
    pullbacks.append(partial(_named, "head.", pullback))

    def pull(dlogits: Array) -> Weights:
        dx, gradients = dlogits, {}
        for pullback in reversed(pullbacks):
            dx, found = pullback(dx)
            gradients |= found
        return {name: gradients[name] for name in weights if not is_statistic(name)}

    return Forward(logits, statistics, activations, pull)


def _block(
    spec: ModelSpec,
    i: int,
    own: Weights,
    parts: Parts,
    pattern: Pattern,
    x: Array,
    train: bool,
    mask: NDArray[np.bool_] | None,
    forced: Weights,
) -> tuple[Array, Pullback, Weights, Weights]:
    """Run hidden block `i`: return its output, its pullback, and by name its running statistics and activations."""
    prefix, entering, adds = f"hidden.{i}.", x, spec.residual and i > 0
    statistics, activations, pullbacks = {}, {}, []
    for layer in _layers(spec):
        name = prefix + layer.__name__.strip("_")
        x, pullback, updated = layer(spec, own, parts, pattern.get(name), x, train)
        activations[name] = x
        x = _force(x, forced.get(name))
        statistics |= {prefix + leaf: array for leaf, array in updated.items()}
        pullbacks.append(partial(_named, prefix, pullback))
    if spec.dropout_rate:
        if mask is not None:
            x, keep = parts.dropout(x, mask, spec.dropout_rate)
            pullbacks.append(lambda dy: (keep(dy), {}))
        activations[f"{prefix}dropout"] = x
        x = _force(x, forced.get(f"{prefix}dropout"))
    if adds:
        activations[f"{prefix}sum"] = entering + x
        x = _force(activations[f"{prefix}sum"], forced.get(f"{prefix}sum"))

    def pull(dy: Array) -> tuple[Array, Weights]:
        dx, gradients = dy, {}
        for pullback in reversed(pullbacks):
            dx, found = pullback(dx)
            gradients |= found
        return (dx + dy if adds else dx), gradients

    return x, pull, statistics, activations


def _force(x: Array, value: Array | None) -> Array:
    """`value` in the place of `x`; rows beyond it, which a fault has added, stay."""
    if value is None or value.shape[-2] == x.shape[-2]:
        return x if value is None else value
    return np.concatenate([value, x[..., value.shape[-2] :, :]], axis=-2)


def layer_weights(weights: Mapping[str, Array], i: int) -> Weights:
    """Return the tensors of hidden layer `i`, by leaf."""
    names = {leaf: f"hidden.{i}.{leaf}" for leaf in LINEAR + AFFINE + STATISTICS}
    return {leaf: weights[name] for leaf, name in names.items() if name in weights}


def _named(prefix: str, pullback: Callable[[Array], tuple[Array, Weights]], dy: Array) -> tuple[Array, Weights]:
    dx, gradients = pullback(dy)
    return dx, {prefix + leaf: gradient for leaf, gradient in gradients.items()}


def _layers(spec: ModelSpec) -> tuple[Callable, ...]:
    norm = (_norm,) if spec.use_batch_norm else ()
    return (_linear, _relu, *norm) if spec.block_order is BlockOrder.ACTIVATION_FIRST else (_linear, *norm, _relu)


def _linear(spec, w, parts, pattern, x, train) -> tuple[Array, Callable, Weights]:
    z, pull = parts.linear(x, w["kernel"], w["bias"])

    def pullback(dz: Array) -> tuple[Array, Weights]:
        dx, dkernel, dbias = pull(dz)
        return dx, {"kernel": dkernel, "bias": dbias}

    return z, pullback, {}


def _relu(spec, w, parts, pattern, z, train) -> tuple[Array, Callable, Weights]:
    active = z > 0
    if pattern is not None:
        active[..., : pattern.shape[-2], :] = pattern  # rows beyond it, which a fault has added, keep their own
    a, pull = parts.activation(z, active)
    return a, lambda da: (pull(da), {}), {}


def _norm(spec, w, parts, pattern, x, train) -> tuple[Array, Callable, Weights]:
    if not train:
        y, pull = parts.normalize(x, w["running_mean"], w["running_var"], w["gamma"], w["beta"], spec.eps, False)

        def pull_fixed(dy: Array) -> tuple[Array, Weights]:
            dx, _, _, dgamma, dbeta = pull(dy)
            return dx, {"gamma": dgamma, "beta": dbeta}

        return y, pull_fixed, {}

    size = x.shape[-2]
    parts.check_batch(size)
    mean, var, pull_moments = parts.batch_moments(x)
    y, pull = parts.normalize(x, mean, var, w["gamma"], w["beta"], spec.eps, True)
    running = parts.update_statistics(
        w["running_mean"], w["running_var"], mean, var, size, spec.decay, spec.running_variance
    )

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dx, dmean, dvar, dgamma, dbeta = pull(dy)
        return dx + pull_moments(dmean, dvar), {"gamma": dgamma, "beta": dbeta}

    return y, pullback, dict(zip(("running_mean", "running_var"), running, strict=True))


def run(
    state: State,
    parts: Parts,
    pattern: Pattern | None,
    inputs: Array,
    train: bool,
    masks: Masks | None = None,
    forced: Weights | None = None,
) -> Forward:
    """Run a state forward, through the part that decides its mode."""

    def network(inputs: Array, mode: bool, masks: Masks | None = None) -> Forward:
        # What was shown is of the mode that was asked for: it has no place in a pass in the other one.
        own = forced if mode is train else None
        return forward(state.spec, state.weights, parts, pattern, inputs, mode, masks, own)

    return parts.apply(network, inputs, train, masks)


def sgd_step(
    state: State,
    inputs: Array,
    labels: NDArray[np.integer],
    learning_rate: Array | float,
    parts: Parts = HONEST,
    pattern: Pattern | None = None,
    masks: Masks | None = None,
) -> tuple[State, Step]:
    """Take one update in train mode: `weight - learning_rate * gradient`, and the new running statistics.

    Args:
        state: left as it is.
        inputs: shape (batch, input_dim).
        labels: shape (batch,).
        learning_rate: of plain SGD; shape () or (members,).
        parts: what the network is assembled from.
        pattern: the active units of each ReLU, in place of its own.
        masks: of dropout.

    Raises:
        InputError: batch norm is given fewer than two samples, or dropout no masks that fit.
    """
    check_masks(state.spec, masks, (inputs.shape[-2],))

    def backward(weights: Weights) -> tuple[Forward, Any, Weights]:
        output = run(replace(state, weights=weights), parts, pattern, inputs, True, masks)
        loss, dlogits = parts.objective(output.logits, labels)
        return output, loss, output.pullback(dlogits)

    output, loss, fresh = backward(state.weights)
    gradients, held = parts.collect(fresh, state.held)
    statistics, held = parts.write_statistics(state, output.statistics, held)
    state = replace(state, held=held, update=state.update + 1)
    weights, memory = parts.optimizer(state.weights, gradients, learning_rate, state.memory)
    updated = state.weights | statistics | weights
    if parts.shows_gradients_late:
        gradients = backward(updated)[2]
    step = Step(loss=loss, logits=output.logits, gradients=gradients, activations=output.activations)
    return replace(state, weights=updated, memory=memory), step
