"""Every kind of damaged file is refused in one line that names it; every intact one is read."""

import gzip
import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity.data.idx import FileSpec, read_idx
from parity.errors import InputError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = bytes.fromhex("00000803 00000002 00000003 00000004") + IMAGES.tobytes()
SPEC = FileSpec("train-images-idx3-ubyte", (2, 3, 4), hashlib.sha256(CONTENT).hexdigest())

LABELS = bytes.fromhex("00000801 00000002") + bytes([5, 7])
OTHER_SHAPE = bytes.fromhex("00000803 00000001 00000003 00000004") + IMAGES[:1].tobytes()
FLIPPED = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_idx(path, SPEC)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


def test_raw_file_is_read(tmp_path: Path) -> None:
    array = read_idx(write(tmp_path, SPEC.name, CONTENT), SPEC)
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert not array.flags.writeable


@pytest.mark.parametrize("level", [0, 1, 9])
def test_recompressed_file_is_the_same_file(tmp_path: Path, level: int) -> None:
    path = write(tmp_path, f"{SPEC.name}.gz", gzip.compress(CONTENT, level))
    np.testing.assert_array_equal(read_idx(path, SPEC), IMAGES)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "ends after 0 bytes, within its header", id="empty"),
        pytest.param(CONTENT[:9], "ends after 9 bytes, within its header", id="cut in the header"),
        pytest.param(CONTENT[:-1], "ends after 39 of 40 bytes", id="truncated"),
        pytest.param(CONTENT + b"\0", "goes on after the 40 bytes", id="extra byte"),
        pytest.param(FLIPPED, "SHA-256", id="flipped bit"),
        pytest.param(b"\x7fELF" + CONTENT[4:], "starts with 7f454c46", id="wrong magic"),
        pytest.param(LABELS + bytes(30), "starts with 00000801", id="labels under the images' name"),
        pytest.param(OTHER_SHAPE, "shape (1, 3, 4), but it must be (2, 3, 4)", id="test set under the train name"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_damaged_content_is_refused(
    tmp_path: Path, content: bytes, reason: str, compress: Callable[[bytes], bytes]
) -> None:
    suffix = ".gz" if compress is gzip.compress else ""
    message = refusal(write(tmp_path, SPEC.name + suffix, compress(content)))
    assert reason in message
    assert "replace it with an intact copy" in message


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(gzip.compress(CONTENT)[:-12], id="truncated"),
        pytest.param(gzip.compress(CONTENT)[:-8] + bytes(8), id="wrong checksum"),
        pytest.param(gzip.compress(CONTENT)[:10] + b"\xff" * 40, id="damaged stream"),
        pytest.param(CONTENT, id="not gzip"),
        pytest.param(gzip.compress(CONTENT) + b"tail", id="extra bytes"),
    ],
)
def test_damaged_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "is a damaged gzip file" in refusal(write(tmp_path, f"{SPEC.name}.gz", content))


def test_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SPEC.name}.gz", gzip.compress(CONTENT + bytes(1 << 26)))
    tracemalloc.start()
    try:
        message = refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "goes on after the 40 bytes" in message
    assert peak < 1 << 22


def test_padding_without_end_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, f"{SPEC.name}.gz", gzip.compress(CONTENT))
    os.truncate(path, 1 << 40)  # a hole, which takes no room on the disk; gzip would skip its zeros one by one
    assert f"has {1 << 40} bytes, too many" in refusal(path)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_name_that_no_file_can_have_is_refused(name: str) -> None:
    assert "cannot be read" in refusal(Path(name))


def test_directory_is_refused(tmp_path: Path) -> None:
    assert "is not a regular file" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(10)
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent")


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, SPEC.name, CONTENT)
    monkeypatch.setattr(Path, "open", deny)  # file modes do not stop root
    assert "cannot be read (Permission denied)" in refusal(path)


def test_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    refusal(write(tmp_path, "two\nlines", b""))
