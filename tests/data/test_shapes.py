"""The procedural dataset: reproducible, exact, fast enough, and never the same image in two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detzoo.data import list_splits, open_dataset
from detzoo.data.shapes import CLASSES, ShapesDataset
from detzoo.errors import DataError


def test_some_images_are_empty_and_normal() -> None:
    data = ShapesDataset(count=100)
    empty = [sample for sample in map(data.sample, range(100)) if len(sample.boxes) == 0]
    assert 1 <= len(empty) <= 12
    assert empty[0].boxes.shape == (0, 4)
    assert empty[0].masks is not None
    assert empty[0].masks.shape == (0, *empty[0].image.shape[:2])


def test_an_image_depends_on_seed_split_and_position_alone() -> None:
    first, again = ShapesDataset().sample(7), ShapesDataset(count=8).sample(7)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    for other in (ShapesDataset(seed=1), ShapesDataset(split="val")):
        assert not np.array_equal(first.image, other.sample(7).image)


def test_boxes_are_the_exact_bounds_of_the_masks() -> None:
    data = ShapesDataset(count=40)
    checked = 0
    for position in range(40):
        sample = data.sample(position)
        assert sample.masks is not None
        assert sample.masks.sum(axis=0).max(initial=0) <= 1  # what is hidden belongs to nobody else
        for box, mask in zip(sample.boxes, sample.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            checked += 1
    assert checked > 80


def test_every_class_occurs_in_every_split() -> None:
    for split in list_splits("shapes"):
        data = open_dataset("shapes", split)
        assert data.classes == CLASSES
        assert set(data.annotations().labels.tolist()) == set(range(len(CLASSES)))


def test_ground_truth_is_what_the_samples_show() -> None:
    data = open_dataset("shapes:train=5", "train")
    truth = data.coco_ground_truth()
    assert [entry["id"] for entry in truth["images"]] == data.image_ids == [1, 2, 3, 4, 5]
    assert [entry["id"] for entry in truth["annotations"]] == list(range(1, len(truth["annotations"]) + 1))
    second = [entry for entry in truth["annotations"] if entry["image_id"] == 2]
    sample = data.sample(1)
    assert sample.masks is not None
    for entry, box, label, mask in zip(second, sample.boxes, sample.labels, sample.masks, strict=True):
        assert entry["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        assert entry["category_id"] == data.category_ids[label]
        assert entry["area"] == mask.sum()


def test_a_subset_keeps_images_and_ids() -> None:
    data = open_dataset("shapes", "val")
    part = data.subset([5, 2])
    assert part.image_ids == [6, 3]
    np.testing.assert_array_equal(part.sample(1).image, data.sample(2).image)


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("shapes", "dev", 'shapes: unknown split "dev"; allowed: test, train, val'),
        ("shapes:size=8", "train", "shapes: size=8 is out of range: 32 to 4,096 is allowed"),
        ("shapes:size=4294967296", "train", "shapes: size=4294967296 is out of range: 32 to 4,096 is allowed"),
        ("shapes:train=0", "train", "shapes: train=0 is out of range: 1 to 10,000,000 is allowed"),
        (
            f"shapes:train={10**15}",
            "train",
            "shapes: train=1000000000000000 is out of range: 1 to 10,000,000 is allowed",
        ),
        (f"shapes:seed={2**63}", "train", f"shapes: seed={2**63} is out of range: 0 to {2**63 - 1:,} is allowed"),
        (
            "shapes:colour=3",
            "train",
            "shapes:colour=3: cannot read 'colour=3'; write shapes:size=160,train=64,val=16,test=16,seed=0",
        ),
    ],
)
def test_wrong_options_are_refused(spec: str, split: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(spec, split)
    assert str(caught.value) == message


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5000, "-1", "1e3", ""])
def test_what_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(DataError, match="cannot read 'train="):
        open_dataset(f"shapes:train={number}", "train")


def test_a_description_with_numbers_out_of_range(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"format: shapes\ntrain: {10**400}\n")
    with pytest.raises(DataError, match="a whole number of about 401 digits is out of range"):
        open_dataset(tmp_path / "data.yaml", "train")
