"""Fetching against a local server, and reading what was fetched."""

import hashlib
import http.server
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detzoo.errors import WeightsError
from detzoo.weights.sources import cached_path, default_cache, fetch, file_sha256, read_state_dict

BODY = bytes(range(256)) * 5000  # 1.28 MB: more than one chunk
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and "norange" not in self.path else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        short = "truncated" in self.path and len(self.server.requests) == 1
        self.wfile.write(BODY[start : 600_000 if short else None])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_file_is_fetched_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = fetch(f"{server.url}/w.pth", sha256=SHA256, cache_dir=tmp_path)
    assert path.read_bytes() == BODY
    assert path == cached_path(f"{server.url}/w.pth", tmp_path)
    assert capsys.readouterr().err == f"downloading w.pth (1.3 MB) from 127.0.0.1:{server.server_address[1]}\n"
    assert fetch(f"{server.url}/w.pth", sha256=SHA256.upper(), cache_dir=tmp_path) == path
    assert len(server.requests) == 1
    assert files(tmp_path) == ["w.pth"]
    assert capsys.readouterr().err == ""


def test_equal_names_of_different_addresses_do_not_collide(server: Server, tmp_path: Path) -> None:
    one = fetch(f"{server.url}/a/w.pth", cache_dir=tmp_path, progress=False)
    two = fetch(f"{server.url}/b/w.pth", cache_dir=tmp_path, progress=False)
    assert one != two
    assert one.name == two.name == "w.pth"


def test_torchvisions_digits_in_the_name_are_checked(server: Server, tmp_path: Path) -> None:
    good = fetch(f"{server.url}/ssd-{SHA256[:8]}.pth", cache_dir=tmp_path, progress=False)
    assert good.read_bytes() == BODY
    url = f"{server.url}/ssd300_vgg16_coco-b556d3b4.pth"
    with pytest.raises(WeightsError) as error:
        fetch(url, cache_dir=tmp_path, progress=False)
    assert str(error.value) == (
        f"{url} gave another file than expected: 1280000 bytes, sha256 {SHA256}, expected b556d3b4. Deleted. "
        "Run again if the transfer was damaged; else the file has changed at its source."
    )
    assert files(tmp_path) == [good.name]


def test_a_damaged_cache_is_noticed(server: Server, tmp_path: Path) -> None:
    path = fetch(f"{server.url}/w.pth", sha256=SHA256, cache_dir=tmp_path, progress=False)
    path.write_bytes(b"other")
    with pytest.raises(WeightsError) as error:
        fetch(f"{server.url}/w.pth", sha256=SHA256, cache_dir=tmp_path, progress=False)
    assert str(error.value) == (
        f"{path} is not the expected file: sha256 {hashlib.sha256(b'other').hexdigest()}, expected {SHA256}. "
        "Delete it and run again to download it again."
    )


def test_not_found(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/missing.pth"
    with pytest.raises(WeightsError) as error:
        fetch(url, cache_dir=tmp_path, progress=False)
    assert str(error.value) == (
        f"cannot download {url}: the server answers 404 Not Found. Without a network, put the file by hand at\n"
        f"  {cached_path(url, tmp_path)}\nand run again; DETZOO_CACHE moves the cache folder."
    )
    assert files(tmp_path) == []


def test_offline_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/w-0123abcd.pth"
    with pytest.raises(WeightsError) as error:
        fetch(url, cache_dir=tmp_path)
    target = cached_path(url, tmp_path)
    assert str(error.value) == (
        f"cannot download {url}: Connection refused. Without a network, put the file (sha256 0123abcd...) by hand at\n"
        f"  {target}\nand run again; DETZOO_CACHE moves the cache folder."
    )
    target.write_bytes(BODY)
    assert fetch(url, sha256=SHA256, cache_dir=tmp_path) == target


def test_a_truncated_body_is_an_error_and_is_continued(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/truncated.pth"
    with pytest.raises(WeightsError) as error:
        fetch(url, sha256=SHA256, cache_dir=tmp_path, progress=False)
    assert str(error.value).startswith(
        f"the download of {url} was cut short: 600000 of 1280000 bytes. Run again to continue. Without a network, put"
    )
    assert files(tmp_path) == ["truncated.pth.part"]
    assert fetch(url, sha256=SHA256, cache_dir=tmp_path, progress=False).read_bytes() == BODY
    assert server.requests == [("/truncated.pth", None), ("/truncated.pth", "bytes=600000-")]
    assert files(tmp_path) == ["truncated.pth"]


@pytest.mark.parametrize("name", ["truncated.pth", "truncated-norange.pth"])
def test_without_a_hash_or_without_ranges_it_starts_again(server: Server, tmp_path: Path, name: str) -> None:
    url = f"{server.url}/{name}"
    sha256 = None if name == "truncated.pth" else SHA256
    with pytest.raises(WeightsError, match="cut short"):
        fetch(url, sha256=sha256, cache_dir=tmp_path, progress=False)
    assert fetch(url, sha256=sha256, cache_dir=tmp_path, progress=False).read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == [None, None if sha256 is None else "bytes=600000-"]


def test_a_whole_part_left_by_a_killed_process_is_used(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/w.pth"
    part = cached_path(url, tmp_path).with_name("w.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY)
    assert fetch(url, sha256=SHA256, cache_dir=tmp_path, progress=False).read_bytes() == BODY


def test_a_wrong_part_is_thrown_away(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/w.pth"
    part = cached_path(url, tmp_path).with_name("w.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    with pytest.raises(WeightsError, match="gave another file than expected"):
        fetch(url, sha256=SHA256, cache_dir=tmp_path, progress=False)
    assert fetch(url, sha256=SHA256, cache_dir=tmp_path, progress=False).read_bytes() == BODY


FETCH_WHEN_TOLD = """
import sys
from detzoo.weights.sources import fetch

print("ready", flush=True)
sys.stdin.readline()
sys.stdout.write(str(fetch(sys.argv[1], sha256=sys.argv[2], cache_dir=sys.argv[3], progress=False)))
"""


def test_two_processes_fetch_it_once(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/w.pth"
    command = [sys.executable, "-c", FETCH_WHEN_TOLD, url, SHA256, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("now\n")
        other.stdin.flush()
        mine = fetch(url, sha256=SHA256, cache_dir=tmp_path, progress=False)
        theirs = Path(other.stdout.read())
    assert other.returncode == 0
    assert mine == theirs
    assert mine.read_bytes() == BODY
    assert len(server.requests) == 1
    assert files(tmp_path) == ["w.pth"]


def test_local_files(tmp_path: Path) -> None:
    path = tmp_path / "a b.pth"
    path.write_bytes(BODY)
    assert fetch(path) == path
    assert fetch(str(path), sha256=SHA256[:10]) == path
    assert fetch(path.as_uri()) == path
    with pytest.raises(WeightsError) as error:
        fetch(path, sha256="00000000")
    assert str(error.value) == (
        f"{path} is not the expected file: sha256 {SHA256}, expected 00000000. "
        "Use the file that 00000000 stands for, or correct sha256 in the recipe."
    )
    with pytest.raises(WeightsError) as error:
        fetch(tmp_path / "none.pth")
    assert str(error.value) == f"weights file {tmp_path / 'none.pth'} does not exist (looked for in {Path.cwd()})"
    with pytest.raises(WeightsError) as error:
        fetch(tmp_path)
    assert str(error.value) == f"weights file {tmp_path} is a folder, not a file (looked for in {Path.cwd()})"
    with pytest.raises(WeightsError) as error:
        fetch("ftp://example.org/w.pth")
    assert str(error.value) == (
        "cannot read weights from ftp://example.org/w.pth: "
        "known are paths, file://, http://, https:// and hf:// addresses"
    )
    with pytest.raises(WeightsError) as error:
        fetch(path, sha256="xyz")
    assert str(error.value) == f"sha256 of {path} must be 8 to 64 hexadecimal digits, found: 'xyz'"


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETZOO_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.setenv("DETZOO_CACHE", "")
    assert default_cache() == Path.home() / ".cache" / "detzoo"


def test_an_unwritable_cache_says_so(server: Server, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(
        WeightsError, match=r"cannot write to the cache folder .*Set DETZOO_CACHE to a folder of your own"
    ):
        fetch(f"{server.url}/w.pth", cache_dir=blocked)


STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.zeros((), dtype=torch.int64)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(STATE) and all(torch.equal(found[k], v) for k, v in STATE.items())


def test_state_dicts_are_read_from_both_formats(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    (tmp_path / "renamed.bin").write_bytes((tmp_path / "a.safetensors").read_bytes())
    torch.save(STATE, tmp_path / "b.pth")
    torch.save({"epoch": 3, "state_dict": STATE}, tmp_path / "c.pth")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "renamed.bin", "b.pth", "c.pth", "old.pth"):
        assert same(read_state_dict(tmp_path / name)), name
    assert (
        file_sha256(tmp_path / "a.safetensors") == hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    )


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": Bomb()}))
    torch.save({"a": np.zeros(3)}, tmp_path / "array.pth")
    for name in ("bomb.pth", "plain.pth", "array.pth"):
        with pytest.raises(WeightsError) as error:
            read_state_dict(tmp_path / name)
        assert str(error.value) == (
            f"{tmp_path / name} is not a plain state dict: reading it would run code from the file, so it is rejected. "
            "Have its maker save model.state_dict(), or better a safetensors file."
        )
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty. Fetch it again."),
        (b"<!DOCTYPE html><html>", "is a web page, not weights. Fetch the file itself: the address led to a page."),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "is a Git LFS pointer, not the file. Run git lfs pull where it came from.",
        ),
    ],
)
def test_files_that_are_no_weights_say_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    assert str(error.value) == f"{path} {message}"


@pytest.mark.parametrize(
    "content", [b"e", b"0", b".", b"hello\n", b"a" * 40, b"}", b"(d", b"\x80\x02R.", b"\x80\x02]b."]
)
def test_whatever_bytes_make_an_unpickler_stumble_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth is not a"):
        read_state_dict(tmp_path / "w.pth")


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:700])
    save_file(STATE, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-4])
    (tmp_path / "noise.pth").write_bytes(b"\x00\x01\x02\x03" * 50)
    for name in ("cut.pth", "cut.safetensors", "noise.pth"):
        with pytest.raises(WeightsError, match=name):
            read_state_dict(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError) as error:
        read_state_dict(tmp_path / "list.pth")
    assert str(error.value) == f"{tmp_path / 'list.pth'} holds no state dict but a list"
    torch.save({"a": torch.zeros(1), "epoch": 1}, tmp_path / "more.pth")
    with pytest.raises(WeightsError) as error:
        read_state_dict(tmp_path / "more.pth")
    assert str(error.value) == (
        f"{tmp_path / 'more.pth'} holds more than tensors: epoch. Save model.state_dict() alone."
    )
