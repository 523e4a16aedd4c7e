"""Images in, minibatches of standardized inputs out; NumPy only."""

from parity.data.batches import IndexStream, updates_per_pass
from parity.data.dataset import DATASETS, Dataset, describe, load_dataset
from parity.data.dropout import Masks, MaskStream, check_masks, draw_masks, mask_arguments
from parity.data.standardize import StandardizedData, label_entropy, standardize

__all__ = [
    "DATASETS",
    "Dataset",
    "IndexStream",
    "MaskStream",
    "Masks",
    "StandardizedData",
    "check_masks",
    "describe",
    "draw_masks",
    "label_entropy",
    "load_dataset",
    "mask_arguments",
    "standardize",
    "updates_per_pass",
]
