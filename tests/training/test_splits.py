"""Which splits are learned from and chosen by, what the first lines say of them, and data without a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detzoo.data import open_dataset
from detzoo.data.checking.statistics import opening_lines, reject_without_boxes
from detzoo.data.hold_out import hold_out
from detzoo.errors import DataError
from detzoo.training.train_command import open_splits

ROW = "0 0.5 0.5 0.2 0.2\n"


def yolo(root: Path, splits: dict[str, int], rows: str = ROW) -> str:
    """A dataset with as many images in each split as are asked for, all different."""
    for split, count in splits.items():
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(count):
            name = f"{split}{number}"
            noise = np.random.default_rng([number, len(splits), len(split)]).integers(0, 256, (20, 20, 3), np.uint8)
            Image.fromarray(noise).save(root / "images" / split / f"{name}.png")
            (root / "labels" / split / f"{name}.txt").write_text(rows)
    (root / "classes.txt").write_text("dog\ncat\n")
    return str(root)


@pytest.mark.parametrize(
    ("splits", "learned", "chosen_by"),
    [
        ({"train": 12, "val": 2, "test": 2}, "train", "val"),
        ({"train": 12, "valid": 2, "test": 2}, "train", "valid"),
        ({"Train": 12, "Validation": 2}, "Train", "Validation"),
        ({"training": 12, "validation": 2}, "training", "validation"),
        ({"train": 12, "dev": 2}, "train", "dev"),
        ({"train2017": 12, "val2017": 2}, "train2017", "val2017"),
        ({"train": 12, "test": 2}, "train", "held out of train"),
        ({"train": 12}, "train", "held out of train"),
        ({"val": 12}, "val", "held out of val"),
        ({"cells": 12}, "cells", "held out of cells"),
        ({"train": 4, "test": 2}, "train", None),
        ({"val": 4}, "val", None),
    ],
)
def test_the_split_that_selects_the_best_epoch(
    tmp_path: Path, splits: dict[str, int], learned: str, chosen_by: str | None
) -> None:
    dataset, val = open_splits(yolo(tmp_path, splits), None, None)
    assert (dataset.split, None if val is None else val.split) == (learned, chosen_by)
    assert val is None or not set(val.paths) & set(dataset.paths)


def test_only_a_named_test_split_selects(tmp_path: Path) -> None:
    data = yolo(tmp_path, {"train": 12, "test": 2})
    for asked, found in (("test", "test"), ("none", None)):
        _, val = open_splits(data, None, asked)
        assert (None if val is None else val.split) == found


@pytest.mark.parametrize(
    ("splits", "option"),
    [
        ({"a": 2, "b": 2}, "--train-split"),
        ({"dogs_train": 2, "cats_train": 2}, "--train-split"),
        ({"train": 2, "dogs_val": 2, "cats_val": 2}, "--val-split"),
    ],
)
def test_what_cannot_be_told_is_asked_for_by_the_name_of_the_option(
    tmp_path: Path, splits: dict[str, int], option: str
) -> None:
    with pytest.raises(DataError, match=option):
        open_splits(yolo(tmp_path, splits), None, None)


def test_the_same_images_are_held_out_each_time_and_no_class_is_lost(tmp_path: Path) -> None:
    data = yolo(tmp_path, {"train": 30})
    (tmp_path / "labels" / "train" / "train7.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    whole = open_dataset(data)
    cuts = [hold_out(whole, share=0.9, seed=seed) for seed in (1, 1, 2)]
    paths = [cut[1].paths for cut in cuts if cut is not None]
    assert paths[0] == paths[1] != paths[2]
    assert all(len(held) == 27 and not any("train7.png" in path for path in held) for held in paths)
    assert len(whole) == 30


def test_the_first_lines_count_images_and_boxes_of_each_class(tmp_path: Path) -> None:
    lines = opening_lines(open_dataset(yolo(tmp_path, {"train": 3}, ROW + "0 0.3 0.3 0.1 0.1\n")), use="learned from")
    assert lines == ["train: 3 images, 6 boxes (dog 6); learned from", "train: 1 class without a box: cat"]


def rejected(data: Any, left_out: bool | None = None) -> str:
    flags = np.full(len(data.annotations().labels), bool(left_out))
    with pytest.raises(DataError) as caught:
        reject_without_boxes(data, flags, why="all difficult", next_step="learn from")
    return str(caught.value)


def test_data_without_a_box_is_rejected_with_the_reason(tmp_path: Path) -> None:
    data = yolo(tmp_path, {"train": 2})
    assert "2 boxes, but all difficult" in rejected(open_dataset(data), left_out=True)
    for label in (tmp_path / "labels" / "train").iterdir():
        label.unlink()
    said = rejected(open_dataset(data))
    assert "none of 2 images has a box to learn from" in said
    assert str(tmp_path / "labels" / "train") in said  # where the labels were looked for


@pytest.mark.parametrize("rows", ["", "7 0.5 0.5 0.2 0.2\n", "0 7 7 0.1 0.1\n"])
def test_labels_of_which_none_is_usable(tmp_path: Path, rows: str) -> None:
    assert "has a box to learn from" in rejected(open_dataset(yolo(tmp_path, {"train": 2}, rows), quiet=True))
