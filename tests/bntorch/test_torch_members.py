"""Stacked members: several lanes in one operation, as on a GPU, are what each lane is alone."""

from typing import Any

import numpy as np
import pytest
import torch

from bntorch.members import StackedMembers
from bntorch.weights import to_native
from parity.spec import ModelSpec
from parity.weights import draw_weights

RATES = torch.tensor([0.05, 0.4, 0.1, 0.2], dtype=torch.float64)


def make_members(spec: ModelSpec, members: slice, lanes: int) -> StackedMembers:
    natives = [to_native(draw_weights(spec, seed), spec, "float64") for seed in range(len(RATES))[members]]
    state = {key: torch.stack([native[key] for native in natives]) for key in natives[0]}
    return StackedMembers(spec, state, RATES[members], lanes)


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
