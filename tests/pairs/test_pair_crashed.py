"""A candidate that raises what the reference does not."""

from typing import Any

import flax.linen as fnn
import jax
import numpy as np
import pytest
from torch import nn

import bnjax
import bntorch
import parity
from parity.pair.findings import FindingKind
from parity.pair.screen import format_report


class Table(fnn.Module):
    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        return fnn.Embed(5, 4, name="table")(ids)


class TorchTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, ids: Any) -> Any:
        return self.table(ids)


@pytest.mark.parametrize("ids", [[0, 7], [-1, 2]])
def test_an_index_beyond_a_table_is_named(ids: list[int]) -> None:
    report = parity.compare(bnjax.port(Table()), bntorch.port(TorchTable()), inputs={"ids": np.array(ids)})
    (finding,) = report.findings
    assert (finding.kind, finding.cause.name) == (FindingKind.CRASH, "out_of_range_index")
    assert "keep indices within the table" in " ".join(format_report(report).split())


class Listed(fnn.Module):
    @fnn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        return fnn.Embed(5, 4, name=["table"][len(ids)])(ids)


def test_an_index_beyond_a_list_of_python_is_another_cause() -> None:
    report = parity.compare(bntorch.port(TorchTable()), bnjax.port(Listed()), inputs={"ids": np.array([0, 2])})
    (finding,) = report.findings
    assert "list index out of range" in finding.cause.evidence
    assert (finding.kind, finding.cause.name) == (FindingKind.CRASH, "unexplained")


def test_a_reference_that_refuses_an_index_is_bad_input() -> None:
    with pytest.raises(parity.InputError, match=r"the reference cannot be run: .*index out of range"):
        parity.compare(bntorch.port(TorchTable()), bnjax.port(Table()), inputs={"ids": np.array([0, 7])})
