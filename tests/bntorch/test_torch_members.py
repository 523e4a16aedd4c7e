"""Stacked members: several lanes in one operation, as on a GPU, are what each lane is alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bntorch.backend import TorchBackend
from bntorch.stacked import StackedMembers, batch_norm_by_rows
from bntorch.weights import to_native
from parity.spec import ModelSpec
from parity.weights import draw_weights

RATES = torch.tensor([0.05, 0.4, 0.1, 0.2], dtype=torch.float64)


def make_members(spec: ModelSpec, members: slice, lanes: int) -> StackedMembers:
    natives = [to_native(draw_weights(spec, seed), spec, "float64") for seed in range(len(RATES))[members]]
    state = {key: torch.stack([native[key] for native in natives]) for key in natives[0]}
    return StackedMembers(spec, state, RATES[members], lanes)


def as_on_a_gpu(members: StackedMembers) -> StackedMembers:
    """Members that compute as on a GPU, except that a captured step is run and not replayed."""
    members._capture, members._batch_norm = (lambda step: step), batch_norm_by_rows
    return members


@pytest.mark.parametrize("conventions", [{}, {"use_batch_norm": False}, {"block_order": "norm_first"}])
def test_members_on_a_gpu_are_what_they_are_on_a_cpu(conventions: dict[str, Any]) -> None:
    spec = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=6, **conventions)
    rng = np.random.default_rng(0)
    inputs, labels = torch.tensor(rng.normal(size=(64, 12))), torch.tensor(rng.integers(0, 5, 64))
    cpu, gpu = make_members(spec, slice(None), 2), as_on_a_gpu(make_members(spec, slice(None), 2))
    # One pass after another, of several lengths and batch sizes: what was captured is not what is asked for.
    for updates, size in ((4, 16), (1, 16), (3, 8), (70, 16)):
        batches = torch.tensor(rng.integers(0, 64, (2, updates, size)))
        expected, expected_finite = cpu.run(inputs, labels, batches)
        losses, finite = gpu.run(inputs, labels, batches)
        assert torch.equal(finite, expected_finite)
        # Float64 rounding of another formula, through at most 78 updates at small rates.
        torch.testing.assert_close(losses, expected, rtol=1e-8, atol=0)
        for key, tensor in cpu.state.items():
            torch.testing.assert_close(gpu.state[key], tensor, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "around",
    [
        lambda: torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda saved: saved),
        lambda: torch.autocast("cpu", torch.bfloat16),
        torch.no_grad,
    ],
    ids=["what autograd saves is copied", "autocast", "no gradients"],
)
@pytest.mark.parametrize("lanes", [1, 2])
def test_what_a_caller_has_set_changes_nothing(around: Callable[[], Any], lanes: int) -> None:
    spec = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=6)
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(64, 12)).astype(np.float32), rng.integers(0, 5, 64)
    batches = rng.integers(0, 64, (lanes, 9, 16))

    def trained() -> Any:
        states = [draw_weights(spec, seed) for seed in range(2 * lanes)]
        population = TorchBackend().population(spec, states, [0.1] * 2 * lanes, inputs, labels, "float32", lanes)
        return population.run_pass(batches).losses, population.weights(0)

    losses, weights = trained()
    with around():
        other_losses, other_weights = trained()
    assert np.array_equal(losses, other_losses)
    assert all(np.array_equal(weights[name], other_weights[name]) for name in weights)


@pytest.mark.parametrize("conventions", [{}, {"use_batch_norm": False}, {"block_order": "norm_first"}])
def test_lanes_in_one_operation_are_what_each_is_alone(conventions: dict[str, Any]) -> None:
    spec = ModelSpec(input_dim=12, output_dim=5, num_hidden_layers=2, hidden_width=6, **conventions)
    rng = np.random.default_rng(0)
    inputs, labels = torch.tensor(rng.normal(size=(64, 12))), torch.tensor(rng.integers(0, 5, 64))
    batches = torch.tensor(rng.integers(0, 64, (2, 4, 16)))
    both = make_members(spec, slice(None), 2)
    losses, finite = both.run(inputs, labels, batches)
    assert finite.all()
    for lane, members in enumerate((slice(0, 2), slice(2, 4))):
        alone = make_members(spec, members, 1)
        own, _ = alone.run(inputs, labels, batches[lane : lane + 1])
        # Four float64 updates at small rates: products of another shape are summed in another order, no more.
        torch.testing.assert_close(losses[:, members], own, rtol=1e-10, atol=0)
        for key, tensor in alone.state.items():
            torch.testing.assert_close(both.state[key][members], tensor, rtol=1e-10, atol=1e-12)
