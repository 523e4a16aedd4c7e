"""The same small CNN, the other way round: Flax is the reference."""

from compare_cnn import accept, candidate, reference  # noqa: F401

import parity

inputs = {"x": parity.normal(8, 16, 16, 3), "labels": parity.integers(8, below=10)}
reference, candidate = candidate, reference
