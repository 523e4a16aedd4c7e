"""Finding Fashion-MNIST on this machine, or fetching it.

Reference: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", 2017.
"""

import contextlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from parity.data.idx import FileSpec, read_idx
from parity.errors import InputError

FILES = (
    FileSpec(
        "train-images-idx3-ubyte",
        (60000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    FileSpec(
        "train-labels-idx1-ubyte",
        (60000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    FileSpec(
        "t10k-images-idx3-ubyte",
        (10000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    FileSpec(
        "t10k-labels-idx1-ubyte",
        (10000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)

TORCHVISION_LAYOUT = Path("FashionMNIST", "raw")
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

Arrays = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]


@dataclass(frozen=True)
class Place:
    """A folder that may hold the files, and what to call it."""

    name: str
    folder: Path


def cache_folder() -> Path:
    """The root of downloads, in the user's cache."""
    return platformdirs.user_cache_path("bnparity")


def search_places() -> tuple[Place, ...]:
    """Where the files are looked for, in this order, before they are downloaded."""
    return (
        Place("the cache folder", cache_folder() / TORCHVISION_LAYOUT),
        Place("the folder of Debian's package", DEBIAN_FOLDER),
    )


def read_fashion_mnist(data_dir: Path | str | None = None) -> tuple[Arrays, str]:
    """Read the four files from `data_dir`, or else from the first place that serves, or else download them.

    Args:
        data_dir: a folder with the files, or with torchvision's `FashionMNIST/raw`; if given, the only place.

    Returns:
        Train images (60000, 784), train labels (60000,), test images (10000, 784), test labels (10000,);
        and where they came from.

    Raises:
        InputError: `data_dir` does not serve; or, without it, no place does. One line says what was tried.
    """
    if data_dir is not None:
        return _read_explicit(Path(data_dir))
    failures: list[str] = []
    damages: list[str] = []
    for place in search_places():
        if not _holds_any(place.folder):
            failures.append(f"{place.name} {str(place.folder)!r} holds none of the files")
            continue
        try:
            return _read_folder(place.folder), "; ".join([f"{place.name} {place.folder}", *damages])
        except InputError as error:
            failures.append(f"{place.name}: {error}")
            damages.append(f"passed over {place.name}: {error}")
    try:
        return _download(cache_folder()), f"download by torchvision into {cache_folder()}"
    except Exception as error:
        # Whatever goes wrong here (no torchvision, one built for another Torch, no network, a full disk) is
        # one item of the message: the user has two other ways.
        failures.append(f"download by torchvision: {type(error).__name__}: {error}")
    tried = "; ".join(f"({number}) {failure}" for number, failure in enumerate(failures, 1))
    raise InputError(
        f"Fashion-MNIST was not found, tried: {tried}. Install Debian's package dataset-fashion-mnist, "
        "or name a folder with the four files by --data-dir DIR, "
        "or use the built-in data by --dataset synthetic"
    )


def _read_explicit(data_dir: Path) -> tuple[Arrays, str]:
    folders = (data_dir, data_dir / TORCHVISION_LAYOUT)
    for folder in folders:
        if _holds_any(folder):
            return _read_folder(folder), str(folder)
    kind = "holds none of the files" if data_dir.is_dir() else "is not a folder"
    raise InputError(
        f"--data-dir {str(data_dir)!r} {kind}; it must hold {', '.join(spec.name for spec in FILES)} "
        f"(or each with .gz), directly or in {TORCHVISION_LAYOUT}"
    )


def _read_folder(folder: Path) -> Arrays:
    """The verified arrays of a folder, images flattened to (n, 784)."""
    paths = [_find(folder, spec) for spec in FILES]
    train_images, train_labels, test_images, test_labels = map(read_idx, paths, FILES)
    return (
        train_images.reshape(len(train_images), -1),
        train_labels.astype(np.int32),
        test_images.reshape(len(test_images), -1),
        test_labels.astype(np.int32),
    )


def _find(folder: Path, spec: FileSpec) -> Path:
    for path in _candidates(folder, spec):
        if _exists(path):
            return path
    raise InputError(
        f"{str(folder)!r} lacks {spec.name}, with or without .gz; all four files must be in one folder, add it"
    )


def _holds_any(folder: Path) -> bool:
    return any(_exists(path) for spec in FILES for path in _candidates(folder, spec))


def _candidates(folder: Path, spec: FileSpec) -> tuple[Path, Path]:
    return folder / spec.name, folder / f"{spec.name}.gz"


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no file can have such a name
        return False
    except OSError:
        return True  # something is there, and reading it will say what is wrong
    return True


def _download(cache: Path) -> Arrays:
    """Download into a scratch folder of the cache; files move to their place only once they are verified.

    So an interrupted download is never taken for a whole one: torchvision itself takes any file that exists
    under the right name for good, even one that was cut off while it was unpacked.
    """
    from torchvision.datasets import FashionMNIST  # pyright: ignore[reportMissingImports]

    target = cache / TORCHVISION_LAYOUT
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="download-", dir=cache) as scratch,
        contextlib.redirect_stdout(sys.stderr),  # stdout is for results
    ):
        FashionMNIST(scratch, train=False, download=True)
        unpacked = Path(scratch) / TORCHVISION_LAYOUT
        arrays = _read_folder(unpacked)
        for spec in FILES:
            (unpacked / spec.name).replace(target / spec.name)
    return arrays
