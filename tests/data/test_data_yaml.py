"""A data.yaml without class names, with keys that stand twice, and with aliases that fill the memory."""

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


NESTED = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
"""Ten lines that stand for a billion values."""


@pytest.mark.parametrize("key", ["names", "nc", "train", "path", "kpt_shape", "classes", "download", "more"])
def test_aliases_that_would_fill_the_memory(key: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    others = {"train": "images", "names": "[cat]"} | {key: "*j"}
    file = tmp_path / "data.yaml"
    file.write_text(NESTED + "".join(f"{name}: {value}\n" for name, value in others.items()))
    with pytest.raises(DataError, match=r"data\.yaml:\d+: more than 1,000,000 values, aliases written out"):
        list_splits(file)


def test_an_alias_within_itself(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: &a [cat, *a]\ntrain: images\n")
    with pytest.raises(DataError, match=r"data\.yaml:1: an alias stands within what it stands for"):
        list_splits(tmp_path / "data.yaml")


def test_aliases_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "a.png")
    file = tmp_path / "data.yaml"
    file.write_text("train: &all [a, b]\nval: *all\nnames: [cat]\n")
    assert [len(open_dataset(file, split, quiet=True)) for split in ("train", "val")] == [2, 2]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("train: images\nnames: [cat]\ntrain: more\n", 3, "'train' stands in line 1"),
        ("train: images\nnames:\n  0: cat\n  1: dog\n  0: cow\n", 5, "'0' stands in line 3"),
        ("format: voc\nsplits:\n  train: {set: a}\n  train: {set: b}\n", 4, "'train' stands in line 3"),
    ],
)
def test_a_key_that_stands_twice(text: str, line: int, key: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"data\.yaml:{line}: the key {key} already; which is right\?"):
        open_dataset(tmp_path / "data.yaml")
