"""A data.yaml of YOLO without class names says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from detzoo.data import list_splits, open_dataset
from detzoo.errors import DataError


@pytest.mark.parametrize("other", ["", "name: [cat]\n"])
def test_without_names(other: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"train: images/train\nval: images/val\n{other}")
    with pytest.raises(DataError, match=r"data\.yaml: `names` is missing: .*names: \[cat, dog\]"):
        open_dataset(tmp_path / "data.yaml")


@pytest.mark.parametrize("whole", ["/", "~/."])
def test_a_whole_disk_or_home_is_no_folder_of_images(tmp_path: Path, whole: str) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    file = tmp_path / "data.yaml"
    file.write_text(f"train: images\nnames: [dog]\nmore: {whole}\n")
    assert list_splits(file) == ("train",)
    file.write_text(f"train: {whole}\nnames: [dog]\n")
    with pytest.raises(DataError, match="whole disk or home folder"):
        list_splits(file)
