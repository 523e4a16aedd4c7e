"""What all tests of pairs share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def the_same_weights() -> None:
    """PyTorch draws the weights of a model from a stream that other tests have moved on."""
    torch.manual_seed(0)
