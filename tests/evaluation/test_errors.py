"""The split of errors, on images that hold one kind each, and its AP50 against pycocotools'."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from detzoo.evaluation.coco_map import coco_map
from detzoo.evaluation.judging import KINDS, judge
from detzoo.evaluation.tide import error_split

CAT, DOG = 1, 2
BOX = [0, 0, 10, 10]
FAR = [60, 60, 10, 10]


def truth(*boxes: tuple[int, list[int]], **flags: int) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "height": 100, "width": 100}],
        "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": category, "bbox": box, "area": 100, "iscrowd": 0, **flags}
            for n, (category, box) in enumerate(boxes, start=1)
        ],
    }


def row(category: int, box: Sequence[float], score: float = 0.9) -> dict[str, Any]:
    return {"image_id": 7, "category_id": category, "bbox": box, "score": score}


def test_nothing_found_and_nothing_to_find() -> None:
    nothing = error_split([], truth())
    assert math.isnan(nothing.ap50)
    assert nothing.counts == dict.fromkeys(KINDS, 0)
    assert nothing.per_class == {}
    # One false detection of a class without boxes: background, and still no AP.
    assert error_split([row(CAT, BOX)], truth()).counts["background"] == 1
    missed = error_split([], truth((CAT, BOX)))
    assert (missed.ap50, missed.counts["missed"], missed.gains["missed"]) == (0.0, 1, 1.0)


# Two cats, one of them found; of ten by ten boxes, one moved by d px to the side overlaps by (10 - d) / (10 + d).
CASES = {
    "classification": ([row(DOG, FAR, 0.5)], [(DOG, [30, 30, 10, 10])]),
    "localisation": ([row(CAT, [65, 60, 10, 10], 0.5)], []),  # IoU 5/15
    "missed": ([], []),
}


@pytest.mark.parametrize("kind", CASES)
def test_errors_that_hide_a_box(kind: str) -> None:
    found, others = CASES[kind]
    dogs = [row(DOG, box, 0.9) for _, box in others]  # the dog that makes DOG a class with AP, found
    split = error_split([row(CAT, BOX), *found, *dogs], truth((CAT, BOX), (CAT, FAR), *others))
    assert split.counts == dict.fromkeys(KINDS, 0) | {kind: 1}
    # The first cat is found at precision 1: 51 of COCO's 101 points of recall (0 ... .50). Mended: all 101.
    gain = 50 / 101
    assert split.per_class[CAT][kind] == pytest.approx(gain)
    # The dog's AP is 1 before and after: the wrong detection comes below it.
    assert split.gains[kind] == pytest.approx(gain / (2 if others else 1))
    assert all(split.gains[other] == pytest.approx(0) for other in KINDS if other != kind)


FALSE = {
    "both": row(DOG, [65, 60, 10, 10], 0.95),  # a third on the cat, and no dog
    "duplicate": row(CAT, [61, 60, 10, 10], 0.95),  # IoU 9/11, the better one is the next
    "background": row(CAT, [30, 30, 10, 10], 0.95),
}


@pytest.mark.parametrize("kind", FALSE)
def test_errors_that_are_too_many(kind: str) -> None:
    wrong = FALSE[kind]
    # The false one comes before a true one of its own class: precision 1/2 at every recall.
    if kind == "both":
        found, boxes = [wrong, row(DOG, BOX), row(CAT, FAR)], [(DOG, BOX), (CAT, FAR)]
    elif kind == "duplicate":
        found, boxes = [row(CAT, FAR, 0.99), wrong, row(CAT, BOX)], [(CAT, FAR), (CAT, BOX)]
    else:
        found, boxes = [wrong, row(CAT, BOX)], [(CAT, BOX)]
    split = error_split(found, truth(*boxes))
    assert split.counts == dict.fromkeys(KINDS, 0) | {kind: 1}
    # both: the dog's 1/2 -> 1, of two classes. duplicate: 50 of 101 points rise from 2/3. background: 1/2 -> 1.
    gain = {"both": 0.5 / 2, "duplicate": 50 / 101 / 3, "background": 0.5}[kind]
    assert split.gains[kind] == pytest.approx(gain)
    assert split.ap50 == pytest.approx(1 - gain)
    assert all(split.gains[other] == pytest.approx(0) for other in KINDS if other != kind)


def test_of_two_that_could_find_a_box_the_better_one_is_mended_and_the_other_goes() -> None:
    found = [row(CAT, [5, 0, 10, 10], 0.9), row(CAT, [6, 0, 10, 10], 0.8)]
    split = error_split(found, truth((CAT, BOX)))
    assert (split.ap50, split.counts["localisation"], split.gains["localisation"]) == (0.0, 2, 1.0)
    assert split.counts["missed"] == 0  # it is covered


@pytest.mark.parametrize(("height", "kind"), [(5, "true"), (1, "localisation"), (0.9, "background")])
def test_thresholds_are_inclusive(height: float, kind: str) -> None:
    # A detection of the box's first `height` rows: IoU 1/2, 1/10 and .09.
    judged = judge([row(CAT, [0, 0, 10, height])], truth((CAT, BOX))["annotations"])
    assert [verdict.kind for verdict in judged.verdicts] == [kind]


def test_difficult_and_crowd_boxes_count_neither_way() -> None:
    difficult = error_split([row(CAT, BOX), row(CAT, BOX, 0.8)], truth((CAT, BOX), ignore=1))
    assert difficult.counts == dict.fromkeys(KINDS, 0) | {"background": 1}  # the second finds it taken
    crowd = error_split([row(CAT, BOX), row(CAT, BOX, 0.8)], truth((CAT, [0, 0, 50, 50]), iscrowd=1))
    assert crowd.counts == dict.fromkeys(KINDS, 0)


def random_set(seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Five images with boxes that crowd each other, some difficult, some crowd; detections near them, often wrong."""
    rng = np.random.default_rng(seed)
    images = [{"id": n, "height": 100, "width": 100} for n in range(1, 6)]
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in (n for n in range(1, 6) for _ in range(int(rng.integers(0, 8)))):
        x, y = rng.integers(0, 60, 2).tolist()
        width, height = rng.integers(8, 40, 2).tolist()
        category = int(rng.integers(1, 4))
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": category,
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": int(rng.random() < 0.1),
                "ignore": int(rng.random() < 0.1),
            }
        )
        for _ in range(int(rng.integers(0, 4))):
            dx, dy, dw, dh = rng.normal(0, 4, 4).tolist()
            found.append(
                {
                    "image_id": image,
                    "category_id": category if rng.random() < 0.8 else int(rng.integers(1, 4)),
                    "bbox": [x + dx, y + dy, max(1.0, width + dw), max(1.0, height + dh)],
                    "score": int(rng.integers(1, 30)) / 30,  # with ties
                }
            )
    categories = [{"id": n, "name": str(n)} for n in (1, 2, 3, 4)]
    return found, {"images": images, "annotations": annotations, "categories": categories}


def test_its_ap50_is_that_of_pycocotools() -> None:
    compared = 0
    for seed in range(40):
        found, ground_truth = random_set(seed)
        split, coco = error_split(found, ground_truth), coco_map(found, ground_truth)
        assert split.ap50 == pytest.approx(coco.metrics["AP50"], abs=1e-9, nan_ok=True)
        compared += not math.isnan(split.ap50)
    assert compared >= 38
