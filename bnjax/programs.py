"""The pure functions that JAX compiles: for one network, and for a population of stacked states."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from bnjax.parts import MEMBERS
from bnjax.state import TrainState
from bnjax.train import sgd_step

ALARMING_LOSS = 1e4  # nats; far above the loss of any network that still trains
# A CPU lane is the work of one core: it waits for no other lane, and its rounding does not depend on their number.
ONE_THREAD_EACH = {"xla_cpu_multi_thread_eigen": False}
FIRST = "linear_0"  # the layer that all inputs enter
LANES = "lanes"  # the axis that distributes a population over devices


def evaluation_logits(net: TrainState, inputs: jax.Array) -> tuple[jax.Array, Any]:
    """Return the logits in evaluation mode, and the statistics after it. A pure function, not jitted."""
    output = net.model.parts.apply(net, inputs, False)
    return output.logits, output.statistics


def evaluation_activations(net: TrainState, inputs: jax.Array) -> dict[str, jax.Array]:
    """Return the activations in evaluation mode. A pure function, not jitted."""
    return net.model.parts.apply(net, inputs, False).activations


@partial(jax.jit, donate_argnames="net")
def loop_step(
    net: TrainState, inputs: jax.Array, labels: jax.Array, batch: jax.Array, learning_rate: jax.Array
) -> tuple[TrainState, jax.Array]:
    """Take one update on the samples `batch`, as one program; return the new state and the loss before it."""
    net, output = sgd_step(net, inputs[batch], labels[batch], learning_rate)
    return net, output.loss


class Run(NamedTuple):
    """The result of `run_updates`.

    Args:
        nets: the new states.
        losses: before each update, shape (updates, members); only the first `count` rows are meaningful.
        finite: whether every weight and statistic is finite at the end, shape (members,).
        first_seen: the first update after which a value was seen not to be finite, shape (members,); `updates` for
            none.
        looked: whether the values were tested after each update, shape (updates, lanes).
    """

    nets: TrainState
    losses: jax.Array
    finite: jax.Array
    first_seen: jax.Array
    looked: jax.Array


def update_lanes(
    nets: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    learning_rates: jax.Array,
    masks: jax.Array | None = None,
    first_kernel_axis: int = 0,
) -> tuple[TrainState, jax.Array]:
    """Take one update of the members of some lanes. A pure function, not jitted.

    XLA computes the first layers of members that share a minibatch as one matrix product, (batch, input_dim) by
    (input_dim, members times hidden_width), and their gradients as another. The members of one lane may have their
    first kernels side by side, as this product takes them: along axis 1.

    Args:
        nets: the states, stacked along a leading axis, in order of their lanes.
        inputs: a minibatch for each lane, shape (lanes, batch, input_dim).
        labels: shape (lanes, batch).
        learning_rates: shape (members,).
        masks: of dropout, if any, shape (lanes, num_hidden_layers, batch, hidden_width).
        first_kernel_axis: along which the first kernels are stacked; 0 for more than one lane.

    Returns:
        The new states, and the losses before the update.
    """
    axes = _with_first_kernel(jax.tree.map(lambda _: 0, nets), first_kernel_axis)
    one_lane = jax.vmap(sgd_step, (axes, None, None, 0, None), (axes, 0), axis_name=MEMBERS)
    lanes = len(inputs)
    if lanes == 1:
        nets, output = one_lane(nets, inputs[0], labels[0], learning_rates, None if masks is None else masks[0])
        return nets, output.loss
    apart = jax.tree.map(lambda leaf: leaf.reshape(lanes, -1, *leaf.shape[1:]), (nets, learning_rates))
    nets, output = jax.vmap(one_lane)(apart[0], inputs, labels, apart[1], masks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), nets), output.loss.reshape(-1)


def _with_first_kernel(nets: TrainState, kernel: Any) -> TrainState:
    """Return states with other first kernels."""
    return replace(nets, params={**nets.params, FIRST: {**nets.params[FIRST], "kernel": kernel}})


def _moved(nets: TrainState, source: int, destination: int) -> TrainState:
    """Return states whose first kernels are stacked along another axis."""
    return _with_first_kernel(nets, jnp.moveaxis(nets.params[FIRST]["kernel"], source, destination))


def run_updates(
    nets: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    batches: jax.Array,
    count: jax.Array,
    learning_rates: jax.Array,
    masks: jax.Array | None = None,
) -> Run:
    """Train the members of some lanes on the first `count` of their minibatches. A pure function, not jitted.

    To test whether all values are finite costs as much as reading all weights. So test only after an alarming loss,
    which mostly comes some updates before a weight overflows, and after the last update.

    Args:
        nets: the states, stacked along a leading axis, in order of their lanes.
        inputs: the training set, shape (n, input_dim).
        labels: shape (n,).
        batches: indices, shape (lanes, updates, batch).
        count: the number of updates to make, a run-time scalar.
        learning_rates: shape (members,).
        masks: of dropout, if any, shape (lanes, updates, num_hidden_layers, batch, hidden_width).
    """
    lanes, updates, _ = batches.shape
    axis = 1 if lanes == 1 else 0

    def update(t: Any, carry: Run) -> Run:
        batch, kept = batches[:, t], None if masks is None else masks[:, t]
        nets, losses = update_lanes(carry.nets, inputs[batch], labels[batch], learning_rates, kept, axis)
        alive = carry.first_seen == updates
        look = jnp.any(alive & ~(losses < ALARMING_LOSS)) | (t == count - 1)
        finite = jax.lax.cond(look, lambda nets: _all_finite(_moved(nets, axis, 0)), lambda nets: carry.finite, nets)
        return Run(
            nets=nets,
            losses=carry.losses.at[t].set(losses),
            finite=finite,
            first_seen=jnp.where(alive & ~finite, t, carry.first_seen),
            looked=carry.looked.at[t].set(look),
        )

    members = len(learning_rates)
    start = Run(
        nets=_moved(nets, 0, axis),
        losses=jnp.zeros((updates, members), learning_rates.dtype),
        finite=jnp.ones(members, bool),
        first_seen=jnp.full(members, updates),
        looked=jnp.zeros((updates, lanes), bool),
    )
    end = jax.lax.fori_loop(0, count, update, start)
    return end._replace(nets=_moved(end.nets, axis, 0))


def _all_finite(nets: TrainState) -> jax.Array:
    """Return whether every weight and statistic of a member is finite, shape (members,).

    Test leaves of one shape together: a deep network has hundreds, and one test for each took a third of the program's
    compilation time.
    """
    by_shape: dict[tuple[int, ...], list[jax.Array]] = {}
    for leaf in jax.tree.leaves(nets.variables):
        by_shape.setdefault(leaf.shape, []).append(leaf)
    alike = [jnp.isfinite(jnp.stack(leaves, axis=1)) for leaves in by_shape.values()]
    return jnp.array([found.all(axis=range(1, found.ndim)) for found in alike]).all(axis=0)


def evaluation_sums(nets: TrainState, inputs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """Return each member's summed cross entropy and number of correct classifications in evaluation mode, and the
    statistics after it. A pure function, not jitted.
    """

    def sums(net: TrainState) -> tuple[jax.Array, jax.Array, Any]:
        output = net.model.parts.apply(net, inputs, False)
        log_probabilities = jax.nn.log_softmax(output.logits)
        loss = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1).sum()
        return loss, (log_probabilities.argmax(axis=-1) == labels).sum(), output.statistics

    return jax.vmap(sums, axis_name=MEMBERS)(nets)


def run_lanes(
    nets: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    batches: jax.Array,
    count: jax.Array,
    learning_rates: jax.Array,
    masks: jax.Array | None,
    mesh: Mesh,
) -> Run:
    """Run `run_updates` with the lanes distributed over the devices of `mesh`; its size divides their number."""
    run = run_updates
    if mesh.size > 1:
        shared: Any = PartitionSpec(LANES)
        whole: Any = PartitionSpec()
        by_member: Any = PartitionSpec(None, LANES)
        run = jax.shard_map(
            run,
            mesh=mesh,
            in_specs=(shared, whole, whole, shared, whole, shared, shared),
            out_specs=Run(nets=shared, losses=by_member, finite=shared, first_seen=shared, looked=by_member),
            check_vma=False,
        )
    return run(nets, inputs, labels, batches, count, learning_rates, masks)


class Programs(NamedTuple):
    """The programs of a population: `run_lanes` and `evaluation_sums`."""

    run: Any
    evaluate: Any


COMPILED = Programs(
    jax.jit(run_lanes, static_argnames="mesh", compiler_options=ONE_THREAD_EACH), jax.jit(evaluation_sums)
)
