"""IDX and gzip: the array that was asked for, or one line; whatever the bytes, the name and the thing at the path."""

import gzip
import hashlib
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hostile_cases import damaged, file_names, hostile, paths, refusal
from hostile_places import KINDS, emptied, put
from hypothesis import strategies as st

from parity.data import fashion_mnist, load_dataset
from parity.data.idx import FileSpec, read_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = struct.pack(">4I", 0x803, 2, 3, 4) + IMAGES.tobytes()
SPEC = FileSpec("train-images-idx3-ubyte", (2, 3, 4), hashlib.sha256(CONTENT).hexdigest())
REMEDIES = ("replace it with an intact copy", "replace it", "put the file in its place", "add it")


def member(
    content: bytes, name: bytes = b"", extra: bytes = b"", comment: bytes = b"", size: int | None = None
) -> bytes:
    """One gzip member, written out by hand; it may lie about its size."""
    flags = (4 if extra else 0) | (8 if name else 0) | (16 if comment else 0)
    fields = (struct.pack("<H", len(extra)) + extra if extra else b"") + b"".join(
        f + b"\0" for f in (name, comment) if f
    )
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(content) + packer.flush()
    end = struct.pack("<II", zlib.crc32(content), (len(content) if size is None else size) & 0xFFFFFFFF)
    return struct.pack("<4BIBB", 0x1F, 0x8B, 8, flags, 0, 2, 255) + fields + body + end


def unpacked(data: bytes) -> bytes | None:
    """What gzip data holds by RFC 1952, read by zlib alone; None if it is damaged. Zeros may follow a member."""
    found = b""
    while data:
        reader = zlib.decompressobj(31)
        try:
            found += reader.decompress(data)
        except zlib.error:
            return None
        if not reader.eof:
            return None
        data = reader.unused_data.lstrip(b"\0")
    return found


texts_of_headers = st.binary(max_size=20).map(lambda text: text.replace(b"\0", b""))
headers = st.builds(
    lambda code, rank, sizes: struct.pack(">HBB", 0, code, rank) + b"".join(s.to_bytes(4, "big") for s in sizes),
    st.integers(0, 255),
    st.integers(0, 255),
    st.lists(st.sampled_from((0, 1, 2, 3, 4, 28, 60000, 2**31, 2**32 - 1)), max_size=5),
)
contents = st.one_of(
    st.just(CONTENT), damaged(CONTENT), st.binary(max_size=80),
    st.binary(min_size=24, max_size=24).map(lambda body: CONTENT[:16] + body),
    st.builds(lambda header, body: header + body, headers, st.binary(max_size=60)),
)  # fmt: skip


@st.composite
def compressed(draw: st.DrawFn) -> bytes:
    content = draw(contents)
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=3)))
    pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    data = b"".join(
        member(
            piece,
            *(draw(texts_of_headers) for _ in range(3)),
            size=draw(st.sampled_from((None, None, None, 0, 40, 2**32 - 1))),
        )
        for piece in pieces
    )
    data += draw(st.sampled_from((b"", b"", bytes(600), b"tail", b"\x1f\x8b", b"\0\0x")))
    data = draw(st.one_of(st.just(data), damaged(data)))
    return gzip.compress(data) if draw(st.integers(0, 9)) == 0 else data


@hostile(sample=60, many=7000, content=contents)
def test_raw_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / SPEC.name
    path.write_bytes(content)
    assert_read_or_refused(path, content)


@hostile(sample=150, many=10000, data=compressed())
def test_gzip_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"{SPEC.name}.gz"
    path.write_bytes(data)
    assert_read_or_refused(path, unpacked(data))


def assert_read_or_refused(path: Path, content: bytes | None) -> None:
    found: list[np.ndarray] = []
    message = refusal(lambda: found.append(read_idx(path, SPEC)))
    if found:
        np.testing.assert_array_equal(found[0], IMAGES)
    else:
        assert content != CONTENT
        assert repr(str(path)) in message
        assert message.endswith(REMEDIES)


# A megabyte of zeros as deflate data that can be said again and again: bombs cost nothing to make.
_PACKER = zlib.compressobj(9, wbits=-15)
MEGABYTE = _PACKER.compress(bytes(1 << 20)) + _PACKER.flush(zlib.Z_FULL_FLUSH)
GZIP_START = bytes.fromhex("1f8b08000000000002ff")


@hostile(
    sample=12, many=500, megabytes=st.integers(1, 4000), start=st.sampled_from((b"", CONTENT[:16], CONTENT)),
    members=st.integers(0, 3), claimed=st.sampled_from((0, 40, 2**32 - 1)),
    padding=st.sampled_from((0, 1 << 20, 1 << 40)),
)  # fmt: skip
def test_bombs(megabytes: int, start: bytes, members: int, claimed: int, padding: int, tmp_path: Path) -> None:
    path = tmp_path / f"{SPEC.name}.gz"
    bomb = GZIP_START + MEGABYTE * megabytes + b"\x03\0" + struct.pack("<II", 0, claimed)
    data = member(start) * bool(start) + member(b"") * members + bomb
    path.write_bytes(data)
    os.truncate(path, len(data) + padding)  # a hole, which takes no room on the disk
    tracemalloc.start()
    try:
        assert "replace it with an intact copy" in refusal(read_idx, path, SPEC)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@hostile(sample=6, many=100, zeros=st.integers(0, 1 << 43), members=st.integers(0, 200_000))
def test_much_of_nothing_is_not_waited_for(zeros: int, members: int, tmp_path: Path) -> None:
    path = tmp_path / f"{SPEC.name}.gz"
    data = gzip.compress(CONTENT) + gzip.compress(b"") * members
    path.write_bytes(data)
    os.truncate(path, len(data) + zeros)
    found: list[np.ndarray] = []
    message = refusal(lambda: found.append(read_idx(path, SPEC)))
    # Padding is allowed; only what is far larger than any compressed form of the content is refused.
    assert bool(found) == (len(data) + zeros <= (1 << 20) + 2 * 41), message


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Contents by name; `fashion_mnist` expects these files instead of the real ones."""
    labels = struct.pack(">2I", 0x801, 2) + bytes([5, 7])
    contents = {spec.name: CONTENT if "images" in spec.name else labels for spec in fashion_mnist.FILES}
    shapes = {CONTENT: (2, 3, 4), labels: (2,)}
    specs = [FileSpec(name, shapes[c], hashlib.sha256(c).hexdigest()) for name, c in contents.items()]
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(specs))
    return contents


@hostile(
    sample=80, many=7000, name=file_names,
    bad=st.sampled_from(KINDS), place=st.integers(0, 3), others=st.sampled_from(("file", "link")),
    zipped=st.lists(st.booleans(), min_size=4, max_size=4), nested=st.booleans(),
)  # fmt: skip
def test_folders_of_any_name_with_anything_in_them(
    name: str,
    bad: str,
    place: int,
    others: str,
    zipped: list[bool],
    nested: bool,
    small_files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    kinds = [bad if number == place else others for number in range(4)]
    data_dir = emptied(tmp_path / "place") / name
    folder = data_dir / "FashionMNIST" / "raw" if nested else data_dir
    folder.mkdir(parents=True)
    for kind, is_zipped, (file, content) in zip(kinds, zipped, small_files.items(), strict=True):
        target = emptied(folder.parent / f"of {file}") / "file"  # among its own
        os.chdir(target.parent)  # a socket's path must be short
        put(kind, Path("file"), gzip.compress(content) if is_zipped else content)
        (folder / f"{file}{'.gz' * is_zipped}").symlink_to(target)
    os.chdir(tmp_path)
    found = []
    message = refusal(lambda: found.append(load_dataset("fashion-mnist", data_dir)))
    if set(kinds) <= {"file", "link"}:
        assert found[0].train_labels.tolist() == [5, 7]
        np.testing.assert_array_equal(found[0].train_images, IMAGES.reshape(2, 12))
    else:
        assert not found
        assert repr(str(data_dir))[1:-1] in message
        assert message.endswith((*REMEDIES, "FashionMNIST/raw"))


@hostile(sample=60, many=4000, path=paths)
def test_folders_that_are_not_there(path: str, small_files: dict[str, bytes], tmp_path: Path) -> None:
    os.chdir(emptied(tmp_path / "place"))
    message = refusal(load_dataset, "fashion-mnist", path)
    assert "--data-dir" in message or "cannot be read" in message
