"""Images in several splits are leaks, whatever the splits and the files are called; unions are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detzoo.data.checking.check import check
from detzoo.data.checking.problems import DataProblem
from detzoo.data.formats.split_names import role_of, with_role


def devkit(root: Path, **splits: str) -> Path:
    """A split holds one image per letter; equal letters have equal bytes."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for split, stems in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems.split()))
        for stem in stems.split():
            noise = np.random.default_rng(ord(stem[0])).integers(0, 256, (10, 20, 3), np.uint8)
            Image.fromarray(noise).save(root / "JPEGImages" / f"{stem}.png")
            (root / "Annotations" / f"{stem}.xml").write_text(
                "<annotation><size><width>20</width><height>10</height></size><object><name>dog</name>"
                "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object></annotation>"
            )
    return root


def found(root: Path, code: str) -> list[DataProblem]:
    return [problem for problem in check(root) if problem.code == code]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(["train", "valid", "holdout", "Test"], 2)))
@pytest.mark.parametrize("copy", ["a", "a_copy"], ids=["same file", "same bytes"])
def test_the_same_image_in_two_splits_names_both(tmp_path: Path, one: str, other: str, copy: str) -> None:
    leaks = found(devkit(tmp_path, **{one: "a b", other: f"{copy} c"}), "shared-image")
    assert len(leaks) == 1
    assert all(word in leaks[0].message for word in ("leak", one, other))


@pytest.mark.parametrize(
    "splits",
    [
        {"train": "a b", "val": "c", "trainval": "a b c"},
        {"train": "a b", "val": "c", "train_val": "a b c"},
        {"train": "a b", "val": "c", "test": "d", "everything": "a b c d"},
        {"train": "a b", "val": "c", "trainval": "a c d"},
    ],
)
def test_a_union_of_splits_is_no_leak(tmp_path: Path, splits: dict[str, str]) -> None:
    assert found(devkit(tmp_path, **splits), "shared-image") == []


def test_a_subset_of_the_training_images_is_a_leak(tmp_path: Path) -> None:
    assert len(found(devkit(tmp_path, train="a b c d", valid="a b"), "shared-image")) == 2


def test_equal_images_within_a_split_are_duplicates(tmp_path: Path) -> None:
    root = devkit(tmp_path, train="a a_copy b", val="c")
    assert len(found(root, "duplicate-image")) == 1
    assert found(root, "shared-image") == []


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train", "train"), ("Training", "train"), ("instances_train2017", "train"), ("TRAIN", "train"),
        ("val", "val"), ("valid", "val"), ("Validation", "val"), ("dev", "val"), ("val_annotations", "val"),
        ("cells-val", "val"), ("cellsVal", "val"), ("minival2014", "val"), ("test", "test"), ("test-dev2017", "test"),
        ("trainval", "union"), ("train+val", "union"), ("trains", None), ("value", None), ("fold_1", None),
    ],
)  # fmt: skip
def test_the_role_that_a_name_says(name: str, role: str | None) -> None:
    assert role_of(name) == role


def test_the_roles_own_word_comes_first() -> None:
    assert with_role(["cells_val", "validation", "Val", "test"], "val") == ("Val", "validation", "cells_val")
