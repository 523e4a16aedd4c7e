"""Blocks shared out to devices: every update once, in its order, and no block in two places at a time."""

from hypothesis import given
from hypothesis import strategies as st

from parity.schedule import share_out

Counts = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda pair: (max(pair), min(pair)))


@given(counts=Counts, updates=st.integers(1, 70))
def test_every_update_is_made_once_and_in_order(counts, updates: int) -> None:
    blocks, devices = counts
    made = [0] * blocks
    for work, count in share_out(blocks, devices, updates):
        assert len(work) == devices
        assert count >= 1
        assert len({block for block, _ in work}) == len(set(work)), "a block is in two places"
        for block, start in set(work):
            assert start == made[block]
            made[block] += count
    assert made == [updates] * blocks


@given(counts=Counts, updates=st.integers(1, 70))
def test_it_takes_no_longer_than_the_work_shared_out(counts, updates: int) -> None:
    blocks, devices = counts
    assert sum(count for _, count in share_out(blocks, devices, updates)) == -(-blocks * updates // devices)
