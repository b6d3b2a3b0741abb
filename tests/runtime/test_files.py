"""Files that are whole or not there, and folders that one process has at a time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from detzoo.errors import DataError
from detzoo.runtime.atomic_files import replacing, write_text
from detzoo.runtime.folder_claim import claimed_folder, locked_folder, wait_for_folder

HOLD = """
import sys
from pathlib import Path
from detzoo.runtime.folder_claim import locked_folder
with locked_folder(Path(sys.argv[1]), what="training"):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    write_text(place, "old")

    def fail() -> None:
        with replacing(place) as temporary:
            temporary.write_text("half")
            assert temporary.suffix == ".json"  # writers that look at the suffix see the right one
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (place.read_text(), names(tmp_path)) == ("old", ["a.json"])
    write_text(place, "new")
    assert (place.read_text(), names(tmp_path)) == ("new", ["a.json"])


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mark = f".a.json.{platform.node()}-"
    for process in (ended.pid, os.getppid()):
        (tmp_path / f"{mark}{process}.tmp.json").write_text("half")
    (tmp_path / ".a.json.elsewhere-1.tmp.json").write_text("of another machine")
    write_text(place, "new")
    assert names(tmp_path) == sorted([".a.json.elsewhere-1.tmp.json", f"{mark}{os.getppid()}.tmp.json", "a.json"])


def test_a_folder_is_had_by_one_process_and_waited_for(tmp_path: Path) -> None:
    wait_for_folder(tmp_path / "nothing")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(
                DataError, match=rf"another detzoo training \(process {other.pid} on .*at work in this folder"
            ),
            locked_folder(tmp_path, what="training"),
        ):
            pass
        other.kill()
    assert names(tmp_path) == [".lock"]  # of the killed process; it locks nothing
    with locked_folder(tmp_path, what="training"):
        pass
    assert names(tmp_path) == []
    wait_for_folder(tmp_path)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(DataError, match=r"is not empty and no sweep of detzoo \(no sweep.json in it\)"),
        claimed_folder(tmp_path, marker="sweep.json", what="sweep"),
    ):
        pass
    assert names(tmp_path) == ["thesis.tex"]
    with (
        pytest.raises(DataError, match=r"thesis.tex is a file; --out takes a folder"),
        claimed_folder(tmp_path / "thesis.tex", marker="sweep.json", what="sweep"),
    ):
        pass
    with claimed_folder(tmp_path / "new", marker="sweep.json", what="sweep", written="detzoo.sweep/1"):
        assert (tmp_path / "new" / "sweep.json").read_text() == '{"format": "detzoo.sweep/1"}\n'
