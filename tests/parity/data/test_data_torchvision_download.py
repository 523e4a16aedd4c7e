"""The real download code of torchvision, against a server on this machine."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from parity.data import fashion_mnist, load_dataset
from parity.data.fashion_mnist import DEBIAN_FOLDER, FILES, Place
from parity.errors import InputError

pytestmark = [pytest.mark.torchvision, pytest.mark.fashion_mnist]


@dataclass
class Mirror:
    """What the server gives, and what it was asked for."""

    files: dict[str, bytes]
    requests: list[str] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, mirror: Mirror, *args: object) -> None:
        self.mirror = mirror
        super().__init__(*args)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.mirror.requests.append(name)
        content = self.mirror.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output free of requests."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Serve Debian's files as torchvision's only mirror; the search knows no place but an empty cache."""
    from torchvision.datasets import FashionMNIST  # pyright: ignore[reportMissingImports]

    files = {f"{spec.name}.gz": (DEBIAN_FOLDER / f"{spec.name}.gz").read_bytes() for spec in FILES}
    mirror = Mirror(files)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, mirror))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    # Debian compressed the same bytes anew, so torchvision's own MD5 of the .gz files does not hold for them.
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    cache = tmp_path / "cache"
    monkeypatch.setattr(fashion_mnist, "cache_folder", lambda: cache)
    monkeypatch.setattr(
        fashion_mnist, "search_places", lambda: (Place("the cache folder", cache / "FashionMNIST" / "raw"),)
    )
    yield mirror
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_once(mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = load_dataset("fashion-mnist")
    assert first.train_images.shape == (60000, 784)
    assert capsys.readouterr().out == ""
    assert set(mirror.requests) == set(mirror.files)
    cached = tmp_path / "cache" / "FashionMNIST" / "raw"
    assert {path.name for path in cached.iterdir()} == {spec.name for spec in FILES}
    mirror.requests.clear()
    second = load_dataset("fashion-mnist")
    assert mirror.requests == []
    assert second.source == f"the cache folder {cached}"
    assert second.digest == first.digest


def test_truncated_download_is_refused_in_one_line(mirror: Mirror) -> None:
    whole = dict(mirror.files)
    mirror.files["t10k-images-idx3-ubyte.gz"] = whole["t10k-images-idx3-ubyte.gz"][:100_000]
    with pytest.raises(InputError) as caught:
        load_dataset("fashion-mnist")
    assert "\n" not in str(caught.value)
    assert "download by torchvision: RuntimeError" in str(caught.value)
    assert "t10k-images-idx3-ubyte.gz" in str(caught.value)
    mirror.files = whole
    assert load_dataset("fashion-mnist").test_images.shape == (10000, 784)


def test_server_that_is_gone_is_one_item(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import FashionMNIST  # pyright: ignore[reportMissingImports]

    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(InputError, match=r"download by torchvision: .*--dataset synthetic$"):
        load_dataset("fashion-mnist")
    assert mirror.requests == []
