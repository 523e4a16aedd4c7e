"""Members of a population: stacked states, and one program for many updates of all, in JAX."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from bnjax.parts import MEMBERS
from bnjax.train import TrainState, sgd_step

LANES = "lanes"  # the axis over which a population is shared out to devices


def run_updates(
    nets: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    batches: jax.Array,
    count: jax.Array,
    learning_rates: jax.Array,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """Train the members of one lane on the first `count` of its minibatches. A pure function, not jitted.

    A shared minibatch makes one matrix product of the members' first layers, (batch, input_dim) by (input_dim, members
    times hidden_width), and another of their gradients: XLA sees to it.

    Args:
        nets: the states, stacked along a leading axis.
        inputs: the training set, shape (n, input_dim).
        labels: shape (n,).
        batches: indices, shape (updates, batch).
        count: of updates to make, a scalar that is not compiled in.
        learning_rates: shape (members,).

    Returns:
        The new states; the losses before each update, shape (updates, members), of which those from `count` on mean
        nothing; and whether all is finite in the end, shape (members,).
    """

    def update(t: Any, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
        nets, losses = carry
        nets, output = jax.vmap(sgd_step, in_axes=(0, None, None, 0), axis_name=MEMBERS)(
            nets, inputs[batches[t]], labels[batches[t]], learning_rates
        )
        return nets, losses.at[t].set(output.loss)

    losses = jnp.zeros((len(batches), len(learning_rates)), learning_rates.dtype)
    nets, losses = jax.lax.fori_loop(0, count, update, (nets, losses))
    return nets, losses, jax.vmap(_all_finite)(nets)


def _all_finite(net: TrainState) -> jax.Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(net.variables)]))


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
    mesh: Mesh,
) -> tuple[TrainState, jax.Array, jax.Array]:
    """`run_updates` on every lane: shared out to the devices of `mesh`, and mapped over where one has several.

    Args:
        nets: members in order of their lanes.
        inputs: as `run_updates` takes them.
        labels: likewise.
        batches: shape (lanes, updates, batch).
        count: of updates.
        learning_rates: shape (members,).
        mesh: devices in one axis; their number divides that of the lanes.
    """

    def run(
        nets: TrainState, inputs: Any, labels: Any, batches: Any, count: Any, learning_rates: Any
    ) -> tuple[TrainState, jax.Array, jax.Array]:
        lanes = len(batches)
        if lanes == 1:
            return run_updates(nets, inputs, labels, batches[0], count, learning_rates)
        apart = jax.tree.map(lambda leaf: leaf.reshape(lanes, -1, *leaf.shape[1:]), (nets, learning_rates))
        nets, losses, finite = jax.vmap(run_updates, in_axes=(0, None, None, 0, None, 0), out_axes=(0, 1, 0))(
            apart[0], inputs, labels, batches, count, apart[1]
        )
        together = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), nets)
        return together, losses.reshape(len(losses), -1), finite.reshape(-1)

    if mesh.size > 1:
        shared, whole = PartitionSpec(LANES), PartitionSpec()
        by_member = PartitionSpec(None, LANES)
        run = jax.shard_map(
            run,
            mesh=mesh,
            in_specs=(shared, whole, whole, shared, whole, shared),
            out_specs=(shared, by_member, shared),
            check_vma=False,
        )
    return run(nets, inputs, labels, batches, count, learning_rates)
