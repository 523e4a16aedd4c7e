"""The built-in data set, for tests and for machines without a network.

Each image blends one of its class's three smooth prototypes with a distractor of any class, and adds noise. It is
made by whole numbers alone, so that its bytes are the same on every machine.
"""

import numpy as np
from numpy.typing import NDArray

SEED = 28
NUM_TRAIN, NUM_TEST = 10_000, 2_000
NUM_CLASSES, VARIANTS, SIDE = 10, 3, 28

# Pixels that a careless pipeline stumbles over, by their index in a row of 784.
CONSTANT_BORDER = 2  # rows and columns at the edges that are 0 in every image
BRIGHT_PIXEL = 3 * SIDE + 3  # 255 in every image
TEST_ONLY_PIXEL = 3 * SIDE + 24  # constant in every training image, not in the test set
RARE_PIXELS = tuple(range(24 * SIDE + 3, 24 * SIDE + 11))  # not 0 in about one image of 500


def make_synthetic() -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
    """Draw the set: train images (10000, 784), train labels, test images (2000, 784), test labels.

    With a prototype `p` of the label, a distractor `q` of any class, a weight `w` from 7/16 to 3/4 and noise `e`::

        image = clip(w * p + (1 - w) * q + e, 0, 255)
    """
    generator = np.random.default_rng(SEED)
    num_images = NUM_TRAIN + NUM_TEST
    prototypes = _draw_prototypes(generator)
    labels = generator.integers(NUM_CLASSES, size=num_images, dtype=np.int32)
    images = _blend(generator, prototypes, labels)
    _plant_odd_pixels(generator, images)
    images.setflags(write=False)
    return images[:NUM_TRAIN], labels[:NUM_TRAIN], images[NUM_TRAIN:], labels[NUM_TRAIN:]


def _draw_prototypes(generator: np.random.Generator) -> NDArray[np.int16]:
    """Smooth patterns, shape (10 * 3, 784): coarse 7 by 7 cells, enlarged and blurred along both axes."""
    cells = generator.integers(256, size=(NUM_CLASSES * VARIANTS, 7, 7), dtype=np.int16)
    patterns = cells.repeat(4, axis=1).repeat(4, axis=2)
    for axis in (1, 2):
        patterns = np.stack([np.roll(patterns, shift, axis) for shift in (-1, 0, 1, 2)]).sum(0, np.int16) // 4
    return patterns.reshape(len(cells), -1)


def _blend(
    generator: np.random.Generator, prototypes: NDArray[np.int16], labels: NDArray[np.int32]
) -> NDArray[np.uint8]:
    num_images = len(labels)
    own = labels * VARIANTS + generator.integers(VARIANTS, size=num_images)
    distractor = generator.integers(len(prototypes), size=num_images)
    weight = generator.integers(56, 97, size=(num_images, 1), dtype=np.int16)  # of 128, so int16 holds the sum
    images = weight * prototypes[own]
    images += (128 - weight) * prototypes[distractor]
    images >>= 7
    images += generator.integers(-64, 65, size=images.shape, dtype=np.int16)
    return images.clip(0, 255).astype(np.uint8)


def _plant_odd_pixels(generator: np.random.Generator, images: NDArray[np.uint8]) -> None:
    square = images.reshape(-1, SIDE, SIDE)
    edge = CONSTANT_BORDER
    square[:, :edge] = square[:, -edge:] = square[:, :, :edge] = square[:, :, -edge:] = 0
    images[:, BRIGHT_PIXEL] = 255
    images[:NUM_TRAIN, TEST_ONLY_PIXEL] = 0
    for pixel in RARE_PIXELS:
        images[generator.integers(500, size=len(images)) > 0, pixel] = 0
