"""Images in, minibatches of standardized inputs out; NumPy only."""

from parity.data.batches import IndexStream, updates_per_pass
from parity.data.dataset import DATASETS, Dataset, describe, load_dataset
from parity.data.standardize import DATA_SEED, StandardizedData, standardize

__all__ = [
    "DATASETS",
    "DATA_SEED",
    "Dataset",
    "IndexStream",
    "StandardizedData",
    "describe",
    "load_dataset",
    "standardize",
    "updates_per_pass",
]
