"""Files of the Hugging Face Hub, against a local server that answers as the Hub does."""

import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from detzoo.errors import WeightsError
from detzoo.weights.hub import HubFile, fetch_from_hub, is_pinned, parse_hub_address
from detzoo.weights.sources import fetch, read_state_dict

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BODY = save({"weight": torch.arange(6.0).reshape(2, 3)})
SHA256 = hashlib.sha256(BODY).hexdigest()
ADDRESS = f"hf://owner/net@{COMMIT}/model.safetensors"


class Hub(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str]] = []
        self.busy = 0
        self.agents: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """``/owner/name/resolve/revision/file``: the commit, and of large files the SHA-256, stand in the headers."""

    server: Hub

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(BODY)

    def answer(self, body: bytes) -> None:
        self.server.requests.append((self.command, self.path))
        self.server.agents.append(self.headers.get("User-Agent", ""))
        if self.server.busy:
            self.server.busy -= 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        owner, name, _, revision, file = self.path.strip("/").split("/", 4)
        for wrong, code, error in (
            (name == "gated", 403, "GatedRepo"),
            ((owner, name) != ("owner", "net"), 401, "RepoNotFound"),
            (revision not in (COMMIT, "main", "v1"), 404, "RevisionNotFound"),
            (file != "model.safetensors", 404, "EntryNotFound"),
        ):
            if wrong:
                self.send_response(code)
                self.send_header("X-Error-Code", error)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{SHA256}"')
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))  # read from HF_HUB_CACHE at its import
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (ADDRESS, HubFile("owner/net", COMMIT, "model.safetensors")),
        ("hf://o-1/n.2_x@v1.0/a/b.safetensors", HubFile("o-1/n.2_x", "v1.0", "a/b.safetensors")),
        ("hf://owner/net/model.safetensors", HubFile("owner/net", "main", "model.safetensors")),
    ],
)
def test_an_address_names_a_file(address: str, expected: HubFile) -> None:
    assert parse_hub_address(address) == expected
    assert is_pinned(address) == (expected.revision == COMMIT)


@pytest.mark.parametrize(
    "address",
    ["hf://", "hf://owner", "hf://owner/net", "hf://owner/net@v1", "hf://datasets/owner/net/a.safetensors",
     "hf://owner/net@/a.safetensors", "hf://owner/né/a.safetensors", "hf://owner/net@a@b/c.safetensors"],
)  # fmt: skip
def test_what_is_no_address_of_a_file(address: str) -> None:
    with pytest.raises(WeightsError, match="OWNER/NAME@REVISION/FILE"):
        fetch(address)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.onnx"])
def test_only_safetensors_are_read(name: str) -> None:
    with pytest.raises(WeightsError, match=r"only \.safetensors"):
        fetch(f"hf://owner/net/{name}")


def test_a_pinned_file_is_requested_once(hub: Hub, tmp_path: Path) -> None:
    path = fetch(ADDRESS, sha256=SHA256, progress=False)
    assert path.read_bytes() == BODY
    assert path.is_relative_to(tmp_path / "hub" / "models--owner--net" / "snapshots" / COMMIT)
    assert torch.equal(read_state_dict(path)["weight"], torch.arange(6.0).reshape(2, 3))
    sent = len(hub.requests)
    assert fetch(ADDRESS, sha256=SHA256[:8], progress=False) == path
    assert len(hub.requests) == sent  # from the cache, which other tools share


def test_the_progress_is_shown_when_wanted(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(ADDRESS, progress=False)
    assert capsys.readouterr().err == ""


def test_another_file_than_expected(hub: Hub) -> None:
    with pytest.raises(WeightsError, match=f"sha256 {SHA256}, expected 01234567") as caught:
        fetch(ADDRESS, sha256="01234567", progress=False)
    assert "do not trust" in str(caught.value)


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("hf://owner/nothing/model.safetensors", "no repository owner/nothing"),
        ("hf://owner/gated/model.safetensors", "terms"),
        ("hf://owner/net@v9/model.safetensors", "no revision 'v9'"),
        ("hf://owner/net/other.safetensors", "no file other.safetensors at main"),
        ("hf://owner/-net/model.safetensors", "Correct the address"),
    ],
)
def test_what_the_hub_does_not_have(hub: Hub, address: str, part: str) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch_from_hub(address, progress=False)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.url not in str(caught.value)


def test_without_a_network_what_was_fetched_is_taken(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("hf://owner/net@v1/model.safetensors", progress=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert fetch("hf://owner/net@v1/model.safetensors", progress=False) == path


def closed_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"  # nobody listens there once it is closed


@pytest.mark.parametrize("address", [ADDRESS, "hf://owner/net/model.safetensors"])
def test_a_hub_that_cannot_be_reached_is_told_at_once_and_by_us_alone(
    address: str, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", closed_port())
    begin = time.monotonic()
    with pytest.raises(WeightsError, match="Run again when the Hub can be reached, or name a mirror") as caught:
        fetch(address)
    assert time.monotonic() - begin < 10  # the library's five retries wait 23 s in between
    assert str(caught.value).startswith(f"cannot fetch {address}: ")
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_is_busy_is_asked_again(hub: Hub) -> None:
    hub.busy = 2
    assert fetch(ADDRESS, sha256=SHA256, progress=False).read_bytes() == BODY


def test_offline_mode_sends_nothing(hub: Hub, tmp_path: Path) -> None:
    code = (
        "from detzoo.weights.hub import fetch_from_hub\n"
        "from detzoo.errors import WeightsError\n"
        f"try: fetch_from_hub({ADDRESS!r}, progress=False)\n"
        "except WeightsError as error: print(error)"
    )
    environment = dict(os.environ) | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "HF_HUB_OFFLINE forbids" in said.stdout
    assert hub.requests == []
