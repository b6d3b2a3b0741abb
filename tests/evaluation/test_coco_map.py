"""COCO's twelve numbers: against the official print-out, and on cases that a reader can check."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detzoo.errors import DataError, DetzooError
from detzoo.evaluation.coco_map import coco_map
from detzoo.evaluation.coco_truth import CocoGroundTruth

ORACLE = {
    "bbox": "0.5046 0.6970 0.5730 0.5856 0.5194 0.5014 0.3868 0.5937 0.5954 0.6398 0.5664 0.5643",
    "segm": "0.3195 0.5623 0.2989 0.3874 0.3102 0.3269 0.2682 0.4154 0.4168 0.4694 0.3768 0.3815",
}


def truth(*boxes: tuple[Any, int, list[float]], images: tuple[Any, ...] = (1, 2), **extra: Any) -> dict[str, Any]:
    """COCO ground truth of two categories, 3 and 7, with boxes (image, category, xywh)."""
    return {
        "images": [{"id": i, "height": 200, "width": 200} for i in images],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0, **extra}
            for n, (i, c, b) in enumerate(boxes)
        ],
    }


def rows(ground: dict[str, Any], score: float = 0.9) -> list[dict[str, Any]]:
    """Perfect detections."""
    return [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": score}
        for a in ground["annotations"]
    ]


BOXES: tuple[tuple[int, int, list[float]], ...] = (
    (1, 3, [10, 10, 20, 20]),
    (1, 7, [50, 50, 60, 60]),
    (2, 3, [0, 0, 150, 150]),
)


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
def test_no_detections_score_zero_and_warn(engine: Any) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    result = coco_map([], truth(*BOXES), engine=engine)
    assert result.metrics["AP"] == result.metrics["AR100"] == 0.0
    assert result.warnings == ("there are no detections at all: AP is 0",)


def test_no_ground_truth_has_no_value() -> None:
    detections = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 9, 9], "score": 0.5}]
    result = coco_map(detections, truth())
    assert all(math.isnan(v) for v in result.metrics.values())
    assert result.warnings == ("the ground truth has no box that counts: AP has no value",)


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
def test_perfect_detections_score_one_though_annotation_ids_start_at_zero(engine: Any) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    ground = truth(*BOXES)
    assert ground["annotations"][0]["id"] == 0
    result = coco_map(rows(ground), ground, engine=engine)
    # Sizes 400, 3600 and 22500: one box in each range; at most one detection an image and class suffices.
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    assert result.metrics == dict.fromkeys(names, 1.0)
    assert {c: v["AP"] for c, v in result.per_class.items()} == pytest.approx({3: 1.0, 7: 1.0})
    assert ground == truth(*BOXES)


def test_half_of_the_boxes_found() -> None:
    ground = truth((1, 3, [10, 10, 20, 20]), (2, 3, [10, 10, 20, 20]))
    result = coco_map(rows(ground)[:1], ground)
    # Recall .5 at precision 1: recall points 0, .01, ... .50 are 51 of 101.
    assert result.metrics["AP"] == pytest.approx(51 / 101)
    assert result.metrics["AR100"] == 0.5
    assert math.isnan(result.metrics["APl"])
    assert math.isnan(result.per_class[7]["AP"])


def test_missing_area_is_that_of_the_box_and_said() -> None:
    ground = truth(*BOXES)
    for a in ground["annotations"]:
        del a["area"]
    result = coco_map(rows(ground), ground)
    assert [result.metrics[name] for name in ("APs", "APm", "APl")] == pytest.approx([1, 1, 1])
    assert result.warnings == (
        "3 of 3 annotations have no area; width x height is used, so that APs, APm and APl may differ from those of "
        "masks",
    )


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
@pytest.mark.parametrize("flag", ["ignore", "iscrowd"])
def test_difficult_and_crowd_boxes_count_neither_way(engine: Any, flag: str) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    ground = truth(*BOXES, (2, 3, [160, 160, 30, 30]))
    ground["annotations"][-1][flag] = 1
    found = coco_map(rows(ground), ground, engine=engine).metrics
    missed = coco_map(rows(ground)[:-1], ground, engine=engine).metrics
    assert [found["AP"], missed["AP"]] == pytest.approx([1, 1])


def test_difficult_boxes_count_where_the_flag_is_not_honoured() -> None:
    ground = truth(*BOXES, (2, 3, [160, 160, 30, 30]))
    ground["annotations"][-1]["ignore"] = 1
    prepared = CocoGroundTruth(ground, honour_ignore=False)
    # Class 3: 2 of 3 boxes found, recall points to .66: 67 of 101; class 7: 1.
    assert coco_map(rows(ground)[:-1], prepared).metrics["AP"] == pytest.approx((67 / 101 + 1) / 2)


def test_only_100_detections_an_image_count() -> None:
    ground = truth((1, 3, [10, 10, 20, 20]))
    wrong = [{"image_id": 1, "category_id": 3, "bbox": [100, 100, 9, 9], "score": 0.9}] * 100
    right = [{"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.5}]
    assert coco_map(wrong + right, ground).metrics["AP"] == 0.0
    assert coco_map(wrong[:99] + right, ground).metrics["AP"] == pytest.approx(0.01)


def test_text_image_ids_and_ground_truth_used_twice() -> None:
    boxes = tuple(({1: "2007_000027", 2: "a"}[i], c, b) for i, c, b in BOXES)
    ground = truth(*boxes, images=("2007_000027", "a"))
    prepared = CocoGroundTruth(ground)
    assert [coco_map(rows(ground), prepared).metrics["AP"] for _ in range(2)] == pytest.approx([1, 1])


def test_detections_that_do_not_belong_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        coco_map([{"image_id": 9, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 1.0}], truth(*BOXES))
    assert str(caught.value) == (
        "detections: row 1 names image 9, which the dataset does not have; "
        "check that the detections were made on this dataset and split"
    )
    with pytest.raises(DataError) as caught:
        coco_map([{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1], "score": math.nan}], truth(*BOXES))
    assert str(caught.value) == "detections: row 1 of image 1 has the score nan"
    with pytest.raises(DataError) as caught:
        coco_map([{"image_id": 1, "category_id": 3, "score": 1.0}], truth(*BOXES))
    assert str(caught.value) == "detections: row 1 of image 1 has no 'bbox'"
    stray = [{"image_id": 1, "category_id": 4, "bbox": [0, 0, 1, 1], "score": 1.0}]
    assert coco_map(stray, truth(*BOXES)).warnings == (
        "1 of 1 detections name a category that the dataset does not have",
    )


def test_ground_truth_that_is_not_coco_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        coco_map([], {"images": []})
    assert str(caught.value) == (
        "ground truth: not COCO form, 'annotations' and 'categories' missing; "
        "allowed: an object with images, annotations, categories"
    )
    with pytest.raises(DataError) as caught:
        coco_map([], truth(images=(1, 1)))
    assert str(caught.value) == "ground truth: image id 1 is used more than once; image ids must be unique"
    with pytest.raises(DataError) as caught:
        coco_map([], truth((5, 3, [0, 0, 1, 1])))
    assert str(caught.value) == "ground truth: annotation 0 names image 5, which is not among the images"


def test_unknown_engine() -> None:
    with pytest.raises(DetzooError) as caught:
        coco_map([], truth(), engine="slow")  # type: ignore[arg-type]
    assert str(caught.value) == "evaluation engine 'slow' is unknown; allowed: pycocotools, faster"


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    coco_map(rows(truth(*BOXES)), truth(*BOXES))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_official_sample_results(shared: Path, iou_type: Any) -> None:
    folder = shared / "data" / "oracle-coco-official"
    ground = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / f"instances_val2014_fake{iou_type}100_results.json").read_text())
    result = coco_map(found, ground, iou_type=iou_type)
    assert [f"{v:.4f}" for v in result.metrics.values()] == ORACLE[iou_type].split()


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_both_engines_agree_to_the_last_digit(shared: Path, iou_type: Any) -> None:
    pytest.importorskip("faster_coco_eval")
    folder = shared / "data" / "oracle-coco-official"
    ground = json.loads((folder / "instances_val2014_100.json").read_text())
    found = json.loads((folder / f"instances_val2014_fake{iou_type}100_results.json").read_text())
    slow, fast = (coco_map(found, ground, iou_type=iou_type, engine=e) for e in ("pycocotools", "faster"))
    assert slow.metrics == fast.metrics
    np.testing.assert_array_equal(slow.precision, fast.precision)
    assert str(slow.per_class) == str(fast.per_class)
