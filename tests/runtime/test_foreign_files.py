"""Files of others: special files are never opened, links are followed, encodings are named."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from detzoo.errors import DataError
from detzoo.runtime.foreign_files import (
    MissingFileError,
    count_words,
    files_below,
    files_in,
    is_folder,
    is_ordinary,
    is_there,
    read_file,
    read_text,
    walk,
)


def message(path: Path, limit: int = 100) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path, limit=limit, what="image")
    assert str(caught.value).startswith(str(path))
    assert not is_ordinary(path) or "too many" in str(caught.value)
    return str(caught.value)


def test_an_ordinary_file_and_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_file(tmp_path / "a", limit=3, what="image") == b"123"
    assert read_file(tmp_path / "b", limit=3, what="image") == b"123"
    assert "3 bytes are too many for one image" in message(tmp_path / "a", limit=2)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert read_file(tmp_path / "a", limit=0, what="image") == b""


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a named pipe (FIFO), not an ordinary file (image); not opened" in message(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert "FIFO" in message(tmp_path / "link")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert "a device" in message(tmp_path / "zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        assert "a socket" in message(tmp_path / "socket")
    assert "is a folder" in message(tmp_path)


def test_links_in_a_circle_and_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "lead in a circle" in message(tmp_path / "a")
    (tmp_path / "c").symlink_to("gone")
    assert "a symbolic link to gone, which does not exist" in message(tmp_path / "c")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        read_file(tmp_path / name, limit=1, what="image")
    assert not any(ask(tmp_path / name) for ask in (is_there, is_folder, is_ordinary))


def test_what_stands_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "lost").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    names = ("file", "link", "pipe", "circle", "lost", "gone", "file/below")
    assert [name for name in names if is_there(tmp_path / name)] == ["file", "link", "pipe"]
    assert [name for name in names if is_folder(tmp_path / name)] == ["link"]
    assert [name for name in names if is_ordinary(str(tmp_path / name))] == ["file"]


def test_a_closed_folder_is_told_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "a").touch()
    script = (
        "import os, sys; from detzoo.errors import DataError; from detzoo.runtime.foreign_files import is_there\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # root may look everywhere
        "try: is_there(sys.argv[1])\n"
        "except DataError as error: print(error)"
    )
    os.chmod(tmp_path / "closed", 0)
    try:
        place = str(tmp_path / "closed" / "a")
        done = subprocess.run([sys.executable, "-c", script, place], capture_output=True, text=True, check=True)
    finally:
        os.chmod(tmp_path / "closed", 0o700)
    assert done.stdout == f"{place}: cannot be looked at: Permission denied\n"


def test_a_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)
    assert "too many" in message(tmp_path / "a", limit=2**30)


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such image"):
        read_file(tmp_path / "a", limit=1, what="image")
    (tmp_path / "file").touch()
    with pytest.raises(MissingFileError):
        read_file(tmp_path / "file" / "a", limit=1, what="image")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "ascii"])
def test_encodings_that_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("RBC\nWBC".encode(encoding))
    assert read_text(tmp_path / "a") == "RBC\nWBC"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("红血球".encode("gbk"), "not UTF-8: byte 0 is 0xba"),
        ("café".encode("latin-1"), "not UTF-8: byte 3 is 0xe9"),
        ("RBC".encode("utf-16-le"), "NUL characters"),
        (b"\xff\xfeR", "not UTF-16"),
    ],
)
def test_encodings_that_are_named(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_text(tmp_path / "a")
    assert reason in str(caught.value)
    assert "save the file as UTF-8" in str(caught.value)


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "real").mkdir(parents=True)
    other.mkdir()
    (root / "real" / "b").touch()
    (other / "c").touch()
    (root / "again").symlink_to(root / "real")  # by its own path, not by the link
    (root / "linked").symlink_to(other)
    (root / "up").symlink_to(root)
    (other / "back").symlink_to(root / "linked")
    (root / "a").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    assert files_below(root) == [root / "a", root / "linked" / "c", root / "pipe", root / "real" / "b"]
    assert files_in(root) == [root / "a", root / "pipe"]
    assert files_below(other) == [other / "c"] or files_below(other)[0].name == "c"


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    assert files_below(tmp_path) == files_in(tmp_path) == []
    with pytest.raises(DataError, match="cannot be listed"):
        files_in(tmp_path / "gone")


def test_who_finds_a_file_need_not_see_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / "y").touch()
    (tmp_path / "b" / "back").symlink_to(tmp_path)
    found = walk(tmp_path)
    assert next(found) == tmp_path / "y"
    assert sorted(found) == [tmp_path / "a" / "x"]


def test_words_are_counted_in_utf_16_too() -> None:
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-16-be"):
        assert count_words('{"images": [], "é": 1}'.encode(encoding), (b'"images"', b'"annotations"')) == 1
    assert count_words(b"", (b"x",)) == 0
