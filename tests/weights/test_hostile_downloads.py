"""Servers and addresses that are wrong: one message, nothing cached, and a repeat asks again."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from detzoo.errors import MachineError, WeightsError
from detzoo.weights.sources import fetch

STATE = {"a.weight": torch.arange(6.0).view(2, 3)}


def saved() -> bytes:
    stream = io.BytesIO()
    torch.save(STATE, stream)
    return stream.getvalue()


BODIES = {"safetensors": save(STATE), "torch": saved(), "darknet": bytes(range(256))}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /BODY/HOW: the first answer is wrong in one way, the second right."""

    asked: int = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body, how = self.path.strip("/").split("/")[:2]
        content = BODIES[body]
        first = type(self).asked == 1
        self.send_response(204 if how == "nothing" and first else 200)
        if how == "chunked":
            self.protocol_version = "HTTP/1.1"
            self.send_header("Transfer-Encoding", "chunked")
            content = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
        elif how not in ("short", "nothing", "whole"):
            self.send_header("Content-Length", how if first else str(len(content)))
        self.end_headers()
        if how != "nothing" or not first:
            self.wfile.write(content[: len(content) // 2 if how == "short" and first else None])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("torch/abc", "states the length 'abc'"),
        ("torch/-5", "states the length '-5'"),
        ("torch/1_0", "states the length '1_0'"),
        ("torch/" + "9" * 30, "states the length"),
        ("torch/nothing", "empty answer"),
        ("torch/short", "does not say how long"),
        ("safetensors/short", "does not say how long"),
        ("darknet/short", "does not say how long"),
    ],
)
def test_a_wrong_answer_is_told_and_not_cached(url: str, path: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        fetch(f"{url}/{path}", cache_dir=tmp_path, progress=False)
    assert f"{url}/{path}" in str(caught.value)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file() and not file.name.endswith(".part")] == []
    body = path.partition("/")[0]
    if body != "darknet":  # its format does not say where it ends: only a hash can tell
        assert fetch(f"{url}/{path}", cache_dir=tmp_path, progress=False).read_bytes() == BODIES[body]


@pytest.mark.parametrize("path", ["torch/whole", "safetensors/whole", "darknet/chunked"])
def test_a_whole_file_without_a_stated_length_is_taken(url: str, path: str, tmp_path: Path) -> None:
    found = fetch(f"{url}/{path}", cache_dir=tmp_path, progress=False)
    assert found.read_bytes() == BODIES[path.partition("/")[0]]


def test_letters_beyond_ascii_are_sent_in_percent_form(url: str, tmp_path: Path) -> None:
    found = fetch(f"{url}/torch/whole/größe.pth", cache_dir=tmp_path, progress=False)
    assert (found.name, found.read_bytes()) == ("größe.pth", BODIES["torch"])
    assert fetch(f"{url}/torch/whole/gr%C3%B6%C3%9Fe.pth", cache_dir=tmp_path, progress=False) == found
    assert Handler.asked == 1


@pytest.mark.parametrize("name", ["..", "%2e%2e", "x" * 300])
def test_names_that_no_file_can_have_are_cached_under_another(url: str, name: str, tmp_path: Path) -> None:
    found = fetch(f"{url}/torch/whole/{name}", cache_dir=tmp_path, progress=False)
    assert (found.name, found.parents[1]) == ("weights", tmp_path / "weights")


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1/x.pth",
        "http://::1]/x.pth",
        "http://host:port/x.pth",
        "http://host:99999/x.pth",
        "http:///x.pth",
        "https://",
        "http://host/x%00.pth",
        "http://host/x%0a.pth",
        "http://host/x\x00.pth",
        "http://" + "ü" * 70 + "/x.pth",
    ],
)
def test_what_is_no_address(location: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read weights from"):
        fetch(location, cache_dir=tmp_path, progress=False)


def test_a_full_disk_is_the_machine_s_failure(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("detzoo.weights.download._copy", full)
    with pytest.raises(MachineError, match="the disk is full"):
        fetch(f"{url}/torch/whole", cache_dir=tmp_path, progress=False)
