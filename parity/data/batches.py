"""The index stream: which samples make up each minibatch."""

import numpy as np
from numpy.typing import NDArray

from parity.errors import InputError
from parity.spec import check_count, child_seeds


def updates_per_pass(num_samples: int, batch_size: int) -> int:
    """The number of updates that count as one pass over the data: `round(num_samples / batch_size)`.

    Half is rounded to even, as Python's `round` does.

    Raises:
        InputError: the pass would have no update.

    >>> updates_per_pass(6000, 32)
    188
    """
    check_count("num_samples", num_samples, 1, "a pass needs a sample")
    check_count("batch_size", batch_size, 1, "an update needs a sample")
    updates = round(int(num_samples) / int(batch_size))
    if updates == 0:
        raise InputError(
            f"batch size {batch_size} leaves no update in a pass over {num_samples} samples "
            f"(updates are round({num_samples} / {batch_size})); use a batch size below {2 * num_samples}"
        )
    return updates


class IndexStream:
    """Minibatches as indices into the training set, drawn uniformly with replacement.

    The stream depends on these arguments alone: not on framework, batch norm or learning rate, which therefore
    all see the same batches (common random numbers). It is drawn a whole pass at a time, so it is the same
    however its user cuts passes into chunks.

    Args:
        num_samples: size of the training set.
        batch_size: samples in a minibatch.
        seed: the trial's seed, of which the stream uses a child (`parity.spec.child_seeds`).

    Raises:
        InputError: an argument breaks its rule, or a pass would have no update.

    >>> IndexStream(num_samples=6000, batch_size=32, seed=0).next_pass().shape
    (188, 32)
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        check_count("seed", seed, 0, "NumPy's seeds are not negative")
        self._num_samples = num_samples
        self._shape = (updates_per_pass(num_samples, batch_size), batch_size)
        self._generator = np.random.default_rng(child_seeds(seed).batches)

    def next_pass(self) -> NDArray[np.int32]:
        """The next pass, shape (updates_per_pass, batch_size); one row is one minibatch."""
        return self._generator.integers(self._num_samples, size=self._shape, dtype=np.int32)
