"""A command replaces its own drawings and nobody else's files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detzoo.errors import DataError
from detzoo.runtime.images import read_image
from detzoo.runtime.own_drawings import may_write, write_drawing

IMAGE = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_a_drawing_is_a_readable_image_that_its_own_command_replaces(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_drawing(path, IMAGE, by="show")
    read = read_image(path)
    assert read.shape == IMAGE.shape
    if suffix == ".png":
        assert (read == IMAGE).all()
    write_drawing(path, IMAGE[::-1], by="show")
    with pytest.raises(DataError, match="was not written by detzoo predict"):
        write_drawing(path, IMAGE, by="predict")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_photograph_stays(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), IMAGE)
    before = path.read_bytes()
    with pytest.raises(DataError, match="exists and was not written by detzoo show"):
        write_drawing(path, IMAGE, by="show")
    assert path.read_bytes() == before


def test_what_is_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "empty.png").touch()
    assert may_write(tmp_path / "new.png", "show")
    assert may_write(Path("/dev/null"), "show")
    assert not any(may_write(tmp_path / name, "show") for name in ("folder.png", "link.png", "empty.png"))
