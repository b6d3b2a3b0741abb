"""Servers that answer anything: weights and images are refused with one message each, and nothing is cached."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from detzoo.errors import DataError, WeightsError
from detzoo.runtime.images import read_image
from detzoo.weights.sources import fetch, read_state_dict

PAGE: Final = b"<html><body>Please log in</body></html>"
ANSWERS: Final[dict[str, tuple[bytes, str, str]]] = {
    "loop": (b"HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n", "302 .* infinite loop", "302"),
    "loop-of-two": (b"HTTP/1.1 302 Found\r\nLocation: /loop-of-three\r\n\r\n", "302 .* infinite loop", "302"),
    "loop-of-three": (b"HTTP/1.1 302 Found\r\nLocation: /loop-of-two\r\n\r\n", "302 .* infinite loop", "302"),
    "to-a-file": (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "not allowed", "not allowed"),
    "to-no-address": (b"HTTP/1.1 302 Found\r\nLocation: http://[::1/x\r\n\r\n", "Invalid IPv6 URL", "Invalid IPv6 URL"),
    "404": (b"HTTP/1.1 404 Not Found\r\n\r\n" + PAGE, "404 Not Found", "404 Not Found"),
    "page": (b"HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n" + PAGE, "is a web page", "not an image"),
    "json": (b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"error":"no"}', "is JSON, not weights", "not an image"),
    "no-http": (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP: .*SSH-2.0", "not HTTP: .*SSH-2.0"),
    "bytes": (b"\0\1\2\r\n\r\n", "not HTTP", "not HTTP"),
    "no-number": (b"HTTP/1.1 abc OK\r\n\r\n", "not HTTP", "not HTTP"),
    "nothing": (b"", "closed connection", "closed connection"),
    "long-line": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "65536 bytes", "65536 bytes"),
    "many-headers": (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "100 headers", "100 headers"),
    "no-chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", "cut short", "cut short"),
    "half-a-chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello", "cut short", "cut short"),
    "two-lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "length '5, 5'", "length '5, 5'"),
    "short": (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", "5 of 500 bytes", "5 of 500 bytes"),
    "gzip": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nhello", "compressed", "compressed"),
    "a-part": (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\n\r\nhello", "a part of", "a part of"),
}  # fmt: skip
"""Bytes that are sent, and what is said of them as weights and as an image."""


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.wfile.write(ANSWERS[path.strip("/").split("/")[0]][0])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_weights(address: str, answer: str, sha256: str | None, tmp_path: Path) -> None:
    words = ANSWERS[answer][1] if sha256 is None or answer not in ("page", "json") else "another file than expected"
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(f"{address}/{answer}/x.pth", sha256=sha256, cache_dir=tmp_path, progress=False)
    assert f"{address}/{answer}/x.pth" in str(caught.value)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".lock", ".part"}


@pytest.mark.parametrize("answer", ANSWERS)
def test_images(address: str, answer: str) -> None:
    with pytest.raises(DataError, match=ANSWERS[answer][2]) as caught:
        read_image(f"{address}/{answer}/x.png")
    assert str(caught.value).startswith(f"{address}/{answer}/x.png: ")


@pytest.mark.parametrize(
    "location",
    ["http://[::1/x.png", "http://host:99999/x", "http://h\0/x", "http://u s@h/x", "http://\ud800/x", "http://"],
)
def test_what_is_no_address(location: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be fetched"):
        read_image(location)
    with pytest.raises(WeightsError, match="not an address"):
        fetch(location, cache_dir=tmp_path, progress=False)


@pytest.mark.parametrize("text", [b'{"error": 1}', b"{\n}", PAGE, b""])
def test_text_in_a_file_is_named(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(text)
    with pytest.raises(WeightsError, match=r"is (JSON|a web page|empty)"):
        read_state_dict(tmp_path / "x.pth")
