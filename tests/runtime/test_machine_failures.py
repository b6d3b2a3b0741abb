"""A full disk, a file size limit, a closed pipe: one message, exit code 1, the old file whole and nothing beside it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detzoo.cli import main
from detzoo.comparison.plots import figure, save
from detzoo.data import open_dataset
from detzoo.data.formats.writing import write_datasets
from detzoo.data.splitting import split_dataset
from detzoo.errors import DiskError, MachineError
from detzoo.runtime.atomic_files import replacing, write_bytes, write_text
from detzoo.runtime.drawing import write_image
from detzoo.runtime.isolated import isolated
from detzoo.runtime.locks import locked
from detzoo.runtime.machine_failures import machine_failure

MOST = 100
"""Bytes that a file may have while the limit holds."""


@contextmanager
def small_files(most: int = MOST) -> Iterator[None]:
    """A process that may write no more than so many bytes into a file: EFBIG, as `ulimit -f` gives it.

    No fixture: pytest, too, writes its report into a file when it is told to.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def draw(path: Path) -> None:
    made, _ = figure()
    save(made, path)


WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "bytes": (".bin", lambda path: write_bytes(path, bytes(MOST + 1))),
    "text": (".md", lambda path: write_text(path, "x" * (MOST + 1))),
    "image": (".png", lambda path: write_image(path, np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))),
    "jpeg": (".jpg", lambda path: write_image(path, np.zeros((9, 9, 3), np.uint8))),
    "figure": (".png", draw),
    "figure as SVG": (".svg", draw),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_may_not_grow_leaves_the_old_one(writer: str, tmp_path: Path) -> None:
    ending, write = WRITERS[writer]
    path = tmp_path / f"made{ending}"
    path.write_bytes(b"old")
    with small_files(), pytest.raises(MachineError) as caught:
        write(path)
    assert str(caught.value).startswith(f"{path}: the file would be larger")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def dataset(folder: Path) -> Path:
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "labels").mkdir(exist_ok=True)
        write_image(folder / "images" / f"{number}.png", noise)
        (folder / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "classes.txt").write_text("cat\n")
    return folder


SETS: dict[str, Callable[[Path, Path], Any]] = {
    "split": lambda data, out: split_dataset(data, out, {"a": 0.5, "b": 0.5}),
    "coco": lambda data, out: write_datasets({"all": open_dataset(data)}, out, "coco"),
    "voc, linked": lambda data, out: write_datasets({"all": open_dataset(data)}, out, "voc", copy=False),
    "yolo": lambda data, out: write_datasets({"all": open_dataset(data)}, out, "yolo"),
}


@pytest.mark.parametrize("writer", SETS)
@pytest.mark.parametrize("there", [True, False])
def test_half_a_dataset_is_taken_away_and_its_place_named(writer: str, there: bool, tmp_path: Path) -> None:
    data, out = dataset(tmp_path / "data"), tmp_path / "out"
    if there:
        out.mkdir()
    with small_files(40), pytest.raises(DiskError, match=r"the file would be larger") as caught:  # lists fit
        SETS[writer](data, out)
    assert str(caught.value).startswith(str(out))
    assert (out.exists(), list(out.rglob("*")) if there else []) == (there, [])


def test_a_lock_holds_although_nothing_can_be_written_into_it(tmp_path: Path) -> None:
    with small_files(0), locked(tmp_path / "lock", wait=False, holder="train") as ours:
        assert ours
        with locked(tmp_path / "lock", wait=False) as theirs:
            assert not theirs


def test_a_full_disk_is_no_failure_of_one_piece_of_work(tmp_path: Path) -> None:
    with small_files(), pytest.raises(DiskError):
        isolated(lambda: write_bytes(tmp_path / "x", bytes(MOST + 1)))


def test_a_device_is_written_into_and_never_replaced() -> None:
    write_bytes(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(MachineError, match=r"^/dev/full: the disk is full"):
        write_bytes(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "a.json"
    with pytest.raises(FileNotFoundError) as caught:
        write_text(path, "x")
    assert caught.value.filename == str(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as at_a_folder:
        write_text(tmp_path / "folder", "x")
    assert at_a_folder.value.filename == str(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a.json"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source")


def test_the_longest_name_that_a_system_allows_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    write_text(path, "whole")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("whole", [path])


def test_half_a_surrogate_pair_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "caf\udce9")  # a Latin-1 file name, as Python reads it
    assert (tmp_path / "a.txt").read_bytes() == b"caf?"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), "disk is full"),
        (OSError(errno.EMFILE, "x"), "open"),
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "9 GiB"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (OSError(errno.ENOENT, "x"), None),
        (OSError("encoder error"), None),
        (RuntimeError("shapes differ"), None),
        (ValueError("x"), None),
    ],
)
def test_what_the_machine_s_failures_are(error: Exception, words: str | None) -> None:
    found = machine_failure(error)
    assert found is None if words is None else words in str(found)


def ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception) -> tuple[object, str]:
    """Exit code of the command line where a command raises this, and what it said."""

    def raise_it() -> None:
        raise error

    monkeypatch.setattr("detzoo.cli.app", raise_it)
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 1, "error: a/b: the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device", "from", None, "to"), 1, "error: to: the disk is full"),
        (MachineError("a worker was killed"), 1, "error: a worker was killed\n"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "error: a/b: Permission denied; change its per"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), 2, "error: a/b: Read-only file system; name a place"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a/b"), 2, "error: a/b: No such file; correct the path"),
        (OSError(errno.ENOTEMPTY, "Directory not empty", "a/b"), 2, "error: a/b: Directory not empty\n"),
        (MemoryError(), 1, "error: there is not enough memory"),
    ],
)
def test_one_message_and_its_exit_code(
    error: Exception,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left, said = ends(monkeypatch, capsys, error)
    assert left == code
    assert said.startswith(words)
    assert said.count("\n") == 1


def test_a_bug_of_ours_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it() -> None:
        raise OSError("no number, no name")

    monkeypatch.setattr("detzoo.cli.app", raise_it)
    with pytest.raises(OSError, match="no number"):
        main()


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["list", "--help"], ["--version"]])
def test_a_full_device_as_output(arguments: list[str]) -> None:
    code = "import sys; from detzoo.cli import main; sys.argv = ['detzoo', *sys.argv[1:]]; main()"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=full, stderr=subprocess.PIPE, check=False, env=os.environ
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the disk is full")
    assert done.stderr.count(b"\n") == 1


def test_a_full_device_for_messages() -> None:
    code = "import sys; from detzoo.cli import main; sys.argv = ['detzoo', 'show', 'nothing']; main()"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
