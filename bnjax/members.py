"""Members of a population: stacked states, and one program for many updates of all, in JAX."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from bnjax.parts import MEMBERS
from bnjax.train import TrainState, sgd_step

ALARMING_LOSS = 1e4  # nats; far above what a network says that has not lost its way
LANES = "lanes"  # the axis over which a population is shared out to devices


class Run(NamedTuple):
    """What `run_updates` returns.

    Args:
        nets: the new states.
        losses: before each update, shape (updates, members); those of updates that were not made mean nothing.
        finite: whether all is finite in the end, shape (members,).
        first_seen: the first update after which it was seen that not all is finite, shape (members,); `updates` for
            none.
        looked: whether it was looked for after each update, shape (updates, lanes).
    """

    nets: TrainState
    losses: jax.Array
    finite: jax.Array
    first_seen: jax.Array
    looked: jax.Array


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

    A shared minibatch makes one matrix product of the members' first layers, (batch, input_dim) by (input_dim, members
    times hidden_width), and another of their gradients: XLA sees to it.

    Whether all is finite costs as much as reading all weights. So it is looked for only where a loss is alarming, as
    it mostly is some updates before a weight overflows, and in the end.

    Args:
        nets: the states, stacked along a leading axis, in order of their lanes.
        inputs: the training set, shape (n, input_dim).
        labels: shape (n,).
        batches: indices, shape (lanes, updates, batch).
        count: of updates to make, a scalar that is not compiled in.
        learning_rates: shape (members,).
        masks: of dropout, shape (lanes, updates, num_hidden_layers, batch, hidden_width), if the networks have it.
    """
    lanes, updates, _ = batches.shape
    one_lane = jax.vmap(sgd_step, in_axes=(0, None, None, 0, None), axis_name=MEMBERS)

    def step(nets: TrainState, batch: jax.Array, kept: jax.Array | None) -> tuple[TrainState, jax.Array]:
        if lanes == 1:
            own = None if kept is None else kept[0]
            nets, output = one_lane(nets, inputs[batch[0]], labels[batch[0]], learning_rates, own)
            return nets, output.loss
        apart = jax.tree.map(lambda leaf: leaf.reshape(lanes, -1, *leaf.shape[1:]), (nets, learning_rates))
        nets, output = jax.vmap(one_lane)(apart[0], inputs[batch], labels[batch], apart[1], kept)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), nets), output.loss.reshape(-1)

    def update(t: Any, carry: Run) -> Run:
        nets, losses = step(carry.nets, batches[:, t], None if masks is None else masks[:, t])
        alive = carry.first_seen == updates
        look = jnp.any(alive & ~(losses < ALARMING_LOSS))
        finite = jax.lax.cond(look, _all_finite, lambda nets: jnp.ones_like(alive), nets)
        return Run(
            nets=nets,
            losses=carry.losses.at[t].set(losses),
            finite=carry.finite,
            first_seen=jnp.where(alive & ~finite, t, carry.first_seen),
            looked=carry.looked.at[t].set(look),
        )

    members = len(learning_rates)
    start = Run(
        nets=nets,
        losses=jnp.zeros((updates, members), learning_rates.dtype),
        finite=jnp.ones(members, bool),
        first_seen=jnp.full(members, updates),
        looked=jnp.zeros((updates, lanes), bool),
    )
    end = jax.lax.fori_loop(0, count, update, start)
    return end._replace(finite=_all_finite(end.nets))


def _all_finite(nets: TrainState) -> jax.Array:
    """Whether every weight and statistic of a member is finite, shape (members,).

    Leaves of one shape are looked at as one: a deep network has hundreds, and a test for each of them was a third of
    the time that its program took to compile.
    """
    by_shape: dict[tuple[int, ...], list[jax.Array]] = {}
    for leaf in jax.tree.leaves(nets.variables):
        by_shape.setdefault(leaf.shape, []).append(leaf)
    alike = [jnp.isfinite(jnp.stack(leaves, axis=1)) for leaves in by_shape.values()]
    return jnp.array([found.all(axis=range(1, found.ndim)) for found in alike]).all(axis=0)


def evaluation_sums(nets: TrainState, inputs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """Each member's summed cross entropy and number of correct classifications in evaluation mode, and the statistics
    that it leaves. A pure function, not jitted.
    """

    def sums(net: TrainState) -> tuple[jax.Array, jax.Array, Any]:
        logits, batch_stats, _ = net.model.parts.apply(net, inputs, False)
        log_probabilities = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1).sum()
        return loss, (log_probabilities.argmax(axis=-1) == labels).sum(), batch_stats

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
    """`run_updates` with the lanes shared out to the devices of `mesh`, one axis, whose size divides their number."""
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
