"""An export onto a disk that is full, read-only or closed: one message with the place, and nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from detzoo.cli import main
from detzoo.errors import DiskError
from detzoo.evaluation.results import refuse_foreign
from detzoo.export import export_onnx, export_program
from detzoo.export.writing import check_free
from detzoo.inspection.label_check import check_claim
from tests.export.small_detectors import small
from tests.runtime.test_machine_failures import small_files

KIB = 1024
NOBODY = 65534
WRITERS: dict[str, Callable[..., Any]] = {"model.pt2": export_program, "model.onnx": export_onnx}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a small disk of its own, which only root may do."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        made.append(place)
        return place

    yield mount
    for place in made:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def nobody() -> Iterator[Path]:
    """A folder of somebody else's; root, who may write everywhere, is nobody for a while."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        try:
            if root:
                os.seteuid(NOBODY)
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o755)


@pytest.mark.parametrize("name", ["model.pt2", pytest.param("model.onnx", marks=pytest.mark.slow)])
def test_a_disk_that_fills_up(name: str, mounted: Callable[[str], Path]) -> None:
    path = mounted(f"size={64 * KIB}") / name
    with pytest.raises(DiskError, match="the disk is full") as caught:
        WRITERS[name](small("yolov3"), path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("; nothing is left there. Mend this and repeat the command")
    assert caught.value.exit_code == 1
    assert list(path.parent.iterdir()) == []


@pytest.mark.slow  # the same as on a full disk, for those who may not mount one
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_grow(name: str, tmp_path: Path) -> None:
    with small_files(4 * KIB), pytest.raises(DiskError, match="the file would be larger") as caught:
        WRITERS[name](small("yolov3"), tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert list(tmp_path.iterdir()) == []


CHECKS: dict[str, Callable[[Path], None]] = {
    "export --format torch": lambda folder: check_free(folder / "model.pt2", ".pt2"),
    "export --format onnx": lambda folder: check_free(folder / "model.onnx", ".onnx"),
    "eval": refuse_foreign,
    "eval, a folder to be made": lambda folder: refuse_foreign(folder / "a" / "b"),
    "data check --with": lambda folder: check_claim(folder / "doubts"),
}
"""What slow commands ask before they begin."""


@pytest.mark.parametrize("command", CHECKS)
def test_a_folder_of_somebody_else_is_rejected_before_the_slow_work(command: str) -> None:
    with nobody() as folder, pytest.raises(PermissionError) as caught:
        CHECKS[command](folder)
    assert caught.value.filename == str(folder)


@pytest.mark.parametrize("command", CHECKS)
def test_a_read_only_disk_is_rejected_before_the_slow_work(command: str, mounted: Callable[[str], Path]) -> None:
    place = mounted("ro")
    with pytest.raises(OSError, match="Read-only") as caught:
        CHECKS[command](place)
    assert (caught.value.errno, caught.value.filename) == (errno.EROFS, str(place))


@pytest.mark.parametrize("command", CHECKS)
def test_a_place_that_may_be_written_stays_as_it_is(command: str, tmp_path: Path) -> None:
    CHECKS[command](tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    with nobody() as folder:
        out = folder / "made.safetensors"
        words = ["weights", "import", str(weights), "--detector", "x", "--from", "x", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["detzoo", *words])
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {folder}: Permission denied; change its permissions (`chmod`, `chown`), or name another place\n"
    )
