"""Reading one IDX file, raw or gzip, and proving that it is the one that was asked for."""

import gzip
import hashlib
import math
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity.errors import InputError

_UNSIGNED_BYTE = 0x08  # IDX's code of the element type, the third byte of a file
_SLACK = 1 << 20  # bytes by which a compressed file may be larger than twice its content: headers, padding


@dataclass(frozen=True)
class FileSpec:
    """What an IDX file of unsigned bytes must be: header, size and content follow from these fields.

    Args:
        name: file name, without `.gz`.
        shape: shape of the array, such as (60000, 28, 28).
        sha256: hexadecimal SHA-256 of the uncompressed bytes, since packagers recompress.

    >>> FileSpec("t10k-labels-idx1-ubyte", (10000,), "").num_bytes
    10008
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The first bytes: a mark of element type and rank, then the sizes, all big-endian 32-bit."""
        rank = len(self.shape)
        return struct.pack(f">{1 + rank}I", _UNSIGNED_BYTE << 8 | rank, *self.shape)

    @property
    def num_bytes(self) -> int:
        """Size of the uncompressed file."""
        return len(self.header) + math.prod(self.shape)


def read_idx(path: Path, spec: FileSpec) -> NDArray[np.uint8]:
    """Read and verify one file; a name that ends in `.gz` is decompressed.

    Args:
        path: the file.
        spec: what it must be.

    Returns:
        Read-only array of shape `spec.shape`.

    Raises:
        InputError: it cannot be read, or is not byte for byte what `spec` says.
    """
    # One byte more than expected tells a file that is too long, and no bomb is ever unpacked.
    content = _read_at_most(path, spec.num_bytes + 1)
    fault = _find_fault(content, spec)
    if fault:
        raise InputError(f"{str(path)!r} is not Fashion-MNIST's {spec.name}: {fault}; replace it with an intact copy")
    return np.frombuffer(content, np.uint8, offset=len(spec.header)).reshape(spec.shape)


def _read_at_most(path: Path, limit: int) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise InputError(f"{str(path)!r} is not a regular file, as a data file must be; put the file in its place")
        compressed = path.suffix == ".gz"
        # Empty members and padding unpack to nothing, so the limit never ends the reading of a file full of them.
        if compressed and found.st_size > 2 * limit + _SLACK:
            raise InputError(
                f"{str(path)!r} has {found.st_size} bytes, too many for the {limit - 1} that must be compressed in it; "
                "replace it with an intact copy"
            )
        with gzip.open(path) if compressed else path.open("rb") as file:
            return file.read(limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{str(path)!r} is a damaged gzip file ({error}); replace it with an intact copy") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be read ({reason}); make it readable or replace it") from None


def _find_fault(content: bytes, spec: FileSpec) -> str | None:
    """Say how `content` departs from `spec`, the most telling difference first."""
    header = content[: len(spec.header)]
    if len(header) < len(spec.header):
        return f"it ends after {len(content)} bytes, within its header (it must have {spec.num_bytes} bytes)"
    if header[:4] != spec.header[:4]:
        return f"it starts with {header[:4].hex()}, but {len(spec.shape)}-dimensional IDX with {spec.header[:4].hex()}"
    if header != spec.header:
        shape = struct.unpack(f">{len(spec.shape)}I", header[4:])
        return f"its header says shape {shape}, but it must be {spec.shape}"
    if len(content) < spec.num_bytes:
        return f"it ends after {len(content)} of {spec.num_bytes} bytes"
    if len(content) > spec.num_bytes:
        return f"it goes on after the {spec.num_bytes} bytes that it must have"
    digest = hashlib.sha256(content).hexdigest()
    if digest != spec.sha256:
        return f"SHA-256 {digest} of the uncompressed bytes, but it must be {spec.sha256}"
    return None
