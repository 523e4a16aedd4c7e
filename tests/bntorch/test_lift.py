"""What asks for narrower numbers is given float64, and computed once."""

import pytest
import torch

from bntorch.dispatch import Lift


def test_a_number_is_not_rounded_to_the_default_dtype_first() -> None:
    with Lift():
        made = torch.full((2,), 0.1)
    assert made.tolist() == [0.1, 0.1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_numbers_are_drawn_once(dtype: torch.dtype) -> None:
    expected = torch.rand(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with Lift():
        first, second = (torch.rand(2, generator=generator, dtype=dtype) for _ in range(2))
    assert torch.equal(torch.cat([first, second]), expected)


def test_a_cast_to_a_narrower_dtype_keeps_all_digits() -> None:
    x = torch.tensor([0.1], dtype=torch.float64)
    with Lift():
        assert torch.equal(x.to(torch.float16).float(), x)
