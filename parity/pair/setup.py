"""What is compared: two ports, what the pair says of them, and its batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backend.port import Anatomy
from parity.errors import InputError
from parity.pair.forced import Batch
from parity.pair.guard import Guarded
from parity.pair.input_layout import Order
from parity.pair.pair_file import Pair
from parity.verdict.trace import Mode


@dataclass(frozen=True)
class Setup:
    """What is compared.

    Args:
        reference: its port.
        candidate: its port.
        pair: what the user says of the two.
        given: the batches, in the reference's layout.
        seed: of what is drawn.
    """

    reference: Guarded
    candidate: Guarded
    pair: Pair
    given: Sequence[Mapping[str, Any]]
    seed: int

    def batches(self, order: Order) -> list[Batch]:
        """Return the batches, each in both modes.

        Args:
            order: in which the candidate takes the inputs' axes.
        """
        return [
            Batch(number, mode, given, order(given), where=self._where(given), layouts=self.pair.layouts)
            for number, given in enumerate(self.given)
            for mode in Mode
        ]

    def _where(self, given: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """The positions of a batch that count."""
        where = self.pair.where
        if isinstance(where, str):
            if where not in given:
                raise InputError(f"where is {where!r}, and there is no such input; there are {', '.join(given)}")
            where = given[where]
        if where is None:
            return None
        found = np.asarray(where)
        if found.dtype.kind not in "bui" or not np.isin(found, (0, 1)).all() or not found.any():
            raise InputError("where must be truth values of which some are true, or the name of an input of such")
        return found.astype(bool)

    def check_layouts(self, ours: Anatomy) -> None:
        """Refuse a layout of what there is not.

        Args:
            ours: the reference's anatomy.

        Raises:
            InputError: a name is that of no input and no module.
        """
        known = {*self.given[0], *(each.call.module for each in ours.calls)}
        for name in self.pair.layouts:
            if name not in known:
                raise InputError(f"layouts: {name!r} is no input and no module of the reference")
