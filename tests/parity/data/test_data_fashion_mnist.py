"""Where Fashion-MNIST is looked for, in which order, and what is said when it is nowhere."""

import gzip
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from parity.data import fashion_mnist, load_dataset
from parity.data.fashion_mnist import FILES
from parity.errors import InputError


def fill(folder: Path, contents: dict[str, bytes], *, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / (f"{name}.gz" if compressed else name)).write_bytes(gzip.compress(content) if compressed else content)
    return folder


def refusal(data_dir: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset("fashion-mnist", data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(cache: Path) -> None:
        pytest.fail("must not download")

    monkeypatch.setattr(fashion_mnist, "_download", fail)


def test_table_of_files() -> None:
    assert [spec.num_bytes for spec in FILES] == [47040016, 60008, 7840016, 10008]
    assert all(len(bytes.fromhex(spec.sha256)) == 32 for spec in FILES)


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
def test_data_dir_in_either_layout(
    small_files: dict[str, bytes], places: dict[str, Path], tmp_path: Path, layout: str, compressed: bool
) -> None:
    fill(places["cache"], small_files)  # data_dir goes first
    fill(tmp_path / "mine" / layout, small_files, compressed=compressed)
    dataset = load_dataset("fashion-mnist", str(tmp_path / "mine"))
    assert dataset.source == str(tmp_path / "mine" / layout)
    raw = small_files["train-images-idx3-ubyte"][16:]
    assert dataset.train_images.tobytes() == raw
    assert dataset.train_images.shape == (30, 784)
    assert dataset.test_images.shape == (10, 784)
    assert dataset.train_labels.tolist() == list(small_files["train-labels-idx1-ubyte"][8:])
    assert dataset.test_labels.tolist() == list(small_files["t10k-labels-idx1-ubyte"][8:])


@pytest.mark.usefixtures("no_download")
def test_bad_data_dir_never_falls_through(
    small_files: dict[str, bytes], places: dict[str, Path], tmp_path: Path
) -> None:
    for folder in places.values():
        fill(folder, small_files)
    mine = tmp_path / "mine"
    assert f"--data-dir '{mine}' is not a folder" in refusal(mine)
    mine.mkdir()
    assert f"--data-dir '{mine}' holds none of the files" in refusal(mine)
    fill(mine, small_files)
    (mine / "t10k-labels-idx1-ubyte").unlink()
    assert f"'{mine}' lacks t10k-labels-idx1-ubyte" in refusal(mine)
    (mine / "t10k-labels-idx1-ubyte").write_bytes(b"")
    assert repr(str(mine / "t10k-labels-idx1-ubyte")) in refusal(mine)


@pytest.mark.usefixtures("places", "no_download")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
        ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ],
)
def test_swapped_files_are_refused(small_files: dict[str, bytes], tmp_path: Path, one: str, other: str) -> None:
    swapped = small_files | {one: small_files[other], other: small_files[one]}
    assert f"is not Fashion-MNIST's {one}" in refusal(fill(tmp_path / "swapped", swapped))


@pytest.mark.usefixtures("no_download")
def test_cache_goes_before_debian(small_files: dict[str, bytes], places: dict[str, Path]) -> None:
    fill(places["debian"], small_files, compressed=True)
    assert str(places["debian"]) in load_dataset("fashion-mnist").source
    fill(places["cache"], small_files)
    assert str(places["cache"]) in load_dataset("fashion-mnist").source


@pytest.mark.usefixtures("no_download")
def test_damaged_place_is_passed_over_and_named(small_files: dict[str, bytes], places: dict[str, Path]) -> None:
    fill(places["cache"], small_files | {"t10k-images-idx3-ubyte": b"half"})
    fill(places["debian"], small_files)
    dataset = load_dataset("fashion-mnist")
    assert dataset.source.startswith(f"the folder of Debian's package {places['debian']}; passed over the cache")
    assert str(places["cache"] / "t10k-images-idx3-ubyte") in dataset.source


@pytest.mark.usefixtures("no_torchvision")
def test_final_message_lists_places_reasons_and_ways_out(
    small_files: dict[str, bytes], places: dict[str, Path]
) -> None:
    fill(places["debian"], small_files | {"train-labels-idx1-ubyte": b"half"})
    message = refusal()
    assert f"the cache folder {str(places['cache'])!r} holds none of the files" in message
    assert f"{str(places['debian'] / 'train-labels-idx1-ubyte')!r} is not Fashion-MNIST's" in message
    assert "download by torchvision: ModuleNotFoundError" in message
    for way_out in ("dataset-fashion-mnist", "--data-dir DIR", "--dataset synthetic"):
        assert way_out in message
    assert not places["cache"].exists(), "without torchvision nothing is made"


@pytest.mark.usefixtures("no_torchvision")
def test_unreadable_place_is_named(places: dict[str, Path]) -> None:
    places["debian"].symlink_to(places["debian"])  # a loop: no one can look inside, not even root
    assert f"{str(places['debian'] / 'train-images-idx3-ubyte')!r} cannot be read" in refusal()


@pytest.mark.usefixtures("places")
def test_torchvision_built_for_another_torch_is_one_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does\\nnot exist')"
    )
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.delitem(sys.modules, "torchvision.datasets", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    message = refusal()
    assert "(3) download by torchvision: RuntimeError: operator torchvision::nms does not exist." in message


def install_fake_torchvision(
    monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes], error: Exception | None = None
) -> None:
    """A torchvision whose download writes `contents`, or fails after the first file."""

    def download(root: str, train: bool, download: bool) -> None:
        print("100%")
        for name, content in contents.items():
            fill(Path(root, "FashionMNIST", "raw"), {name: content})
            if error:
                raise error

    datasets = ModuleType("torchvision.datasets")
    monkeypatch.setattr(datasets, "FashionMNIST", download, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_download_lands_in_the_cache(
    small_files: dict[str, bytes],
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_fake_torchvision(monkeypatch, small_files)
    first = load_dataset("fashion-mnist")
    assert capsys.readouterr().out == "", "stdout is for results"
    assert "download" in first.source
    assert [path.name for path in (places["cache"].parents[1]).iterdir()] == ["FashionMNIST"], "scratch is removed"
    monkeypatch.setitem(sys.modules, "torchvision", None)
    second = load_dataset("fashion-mnist")
    assert second.source == f"the cache folder {places['cache']}"
    assert second.digest == first.digest


def test_interrupted_or_damaged_download_leaves_nothing(
    small_files: dict[str, bytes], places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install_fake_torchvision(monkeypatch, small_files, ConnectionResetError("peer\nwent away"))
    assert "ConnectionResetError: peer went away" in refusal()
    install_fake_torchvision(monkeypatch, small_files | {"t10k-labels-idx1-ubyte": b"<html>"})
    assert "is not Fashion-MNIST's t10k-labels-idx1-ubyte" in refusal()
    assert list(places["cache"].iterdir()) == []


def test_download_heals_a_damaged_cache(
    small_files: dict[str, bytes], places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(places["cache"], small_files | {"train-images-idx3-ubyte": b"half"})
    install_fake_torchvision(monkeypatch, small_files)
    load_dataset("fashion-mnist")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert load_dataset("fashion-mnist").source == f"the cache folder {places['cache']}"


@pytest.mark.fashion_mnist
def test_the_real_set() -> None:
    dataset = load_dataset("fashion-mnist")
    assert dataset.train_images.shape == (60000, 784)
    assert dataset.test_images.shape == (10000, 784)
    assert np.bincount(dataset.train_labels).tolist() == [6000] * 10
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
    assert dataset.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
