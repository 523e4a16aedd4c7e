"""Ours and PyTorch's own batch norm are the same under the matching spec."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bntorch import BatchNorm
from parity.errors import InputError
from parity.spec import RunningVariance

DECAY = 0.8


def make_pair(running_variance: str = "unbiased") -> tuple[BatchNorm, nn.BatchNorm1d, Tensor, Tensor]:
    """Ours, PyTorch's, an input and a cotangent, all at the same random numbers."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    ours = BatchNorm(5, 1e-3, DECAY, RunningVariance(running_variance)).double()
    stock = nn.BatchNorm1d(5, eps=1e-3, momentum=1 - DECAY).double()
    state = {"weight": normal(5), "bias": normal(5), "running_mean": normal(5), "running_var": normal(5).exp()}
    ours.load_state_dict(state)
    stock.load_state_dict(state, strict=False)  # it counts batches too
    return ours, stock, 2 + 3 * normal(16, 5), normal(16, 5)


def assert_equal_to_rounding(left: Tensor, right: Tensor) -> None:
    # The same few operations and sums of 16 terms, in another order.
    limit = 64 * np.spacing(float(left.detach().abs().max()))
    np.testing.assert_allclose(left.detach().numpy(), right.detach().numpy(), rtol=0, atol=limit)


def test_training_output_statistics_and_gradients_equal_pytorchs() -> None:
    ours, stock, x, cotangent = make_pair()
    results = []
    for norm in (ours, stock):
        inputs = x.clone().requires_grad_()
        y = norm(inputs)
        gradients = torch.autograd.grad((y * cotangent).sum(), [inputs, norm.weight, norm.bias])
        results.append([y, norm.running_mean, norm.running_var, *gradients])
    for left, right in zip(*results, strict=True):
        assert_equal_to_rounding(left, right)


def test_evaluation_equals_pytorchs_and_leaves_the_statistics() -> None:
    ours, stock, x, _ = make_pair()
    before = ours.running_mean.clone(), ours.running_var.clone()
    assert_equal_to_rounding(ours.eval()(x), stock.eval()(x))
    assert torch.equal(ours.running_mean, before[0])
    assert torch.equal(ours.running_var, before[1])


def test_biased_running_variance_is_what_pytorch_does_not_do() -> None:
    ours, stock, x, _ = make_pair("biased")
    old = DECAY * ours.running_var
    ours(x)
    stock(x)
    assert stock.running_var is not None
    ratio = (stock.running_var - old) / (ours.running_var - old)
    np.testing.assert_allclose(ratio.numpy(), 16 / 15, rtol=64 * np.finfo(float).eps)


def test_a_stock_norms_whole_state_dict_is_loaded_and_its_counter_left_out() -> None:
    _, stock, x, _ = make_pair()
    stock(x)
    given = stock.state_dict()
    loaded = BatchNorm(5).double()
    loaded.load_state_dict(given, strict=True)
    assert loaded.state_dict().keys() == given.keys() - {"num_batches_tracked"}
    assert torch.equal(loaded.running_var, given["running_var"])
    assert "num_batches_tracked" in given
    stock.load_state_dict(loaded.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match="num_batches_trained"):
        loaded.load_state_dict({**given, "num_batches_trained": torch.tensor(1)}, strict=True)


def test_norms_inside_a_module_load_their_counters_too() -> None:
    norm = nn.BatchNorm1d(5)
    stock = nn.Sequential(nn.Linear(3, 5), norm)
    stock(torch.randn(8, 3))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    ours = nn.Sequential(nn.Linear(3, 5), BatchNorm(5))
    ours.load_state_dict(stock.state_dict(), strict=True)
    for name, loaded in ours.state_dict().items():
        assert torch.equal(loaded, stock.state_dict()[name]), name


def test_an_unknown_running_variance_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="running_variance must be one of unbiased, biased, got 'Unbiased'"):
        BatchNorm(5, running_variance="Unbiased")  # pyright: ignore[reportArgumentType]
    assert BatchNorm(5, running_variance="biased").running_variance is RunningVariance.BIASED  # pyright: ignore[reportArgumentType]
