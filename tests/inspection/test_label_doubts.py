"""Doubts about labels: what was made wrong on purpose comes first, and nothing else; the shares by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detzoo.evaluation.judging import boxes_xyxy, judge
from detzoo.evaluation.voc_map import iou_xyxy
from detzoo.inspection.label_doubts import Doubt, Seen, doubted_labels, expected_recall, telling_score, trust_in

CATEGORIES = [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}]
Row = dict[str, Any]


def box(image: int, category: int, *xywh: float, **more: Any) -> Row:
    return {"image_id": image, "category_id": category, "bbox": list(xywh), "id": 100 * image + category, **more}


def scored(image: int, category: int, score: float, *xywh: float) -> Row:
    return {"image_id": image, "category_id": category, "bbox": list(xywh), "score": score}


def truth(annotations: list[Row], images: int = 1) -> dict[str, Any]:
    return {"images": [{"id": n} for n in range(images)], "annotations": annotations, "categories": CATEGORIES}


def both(images: int) -> tuple[list[Row], list[Row]]:
    """A cat and a dog in each image, lower in each, found a pixel beside; a weak false detection in every fourth."""
    labels = [box(n, c, 20 * (c == 9), 12 * n, 16, 16) for n in range(images) for c in (4, 9)]
    found = [scored(n, c, 0.6 + n / 100, 20 * (c == 9) + 1, 12 * n, 16, 16) for n in range(images) for c in (4, 9)]
    return labels, found + [scored(n, 4, 0.1, 60, 60, 9, 9) for n in range(0, images, 4)]


def told(doubts: list[Doubt]) -> set[tuple[int, str, int | None]]:
    return {(d.image_id, d.kind, None if d.annotation is None else d.annotation["category_id"]) for d in doubts}


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_annotated_and_nothing_found(images: int) -> None:
    assert doubted_labels([], truth([], images), least=0.0) == []


def test_nothing_found_is_no_doubt_and_nothing_annotated_is_no_trust() -> None:
    labels, found = both(3)
    assert doubted_labels([], truth(labels, 3)) == []  # none of the like is found
    assert doubted_labels(found, truth([], 3)) == []  # no detection was ever right


def test_right_labels_raise_no_doubt() -> None:
    labels, found = both(12)
    assert doubted_labels(found, truth(labels, 12)) == []


def test_what_was_made_wrong_comes_first_and_nothing_else() -> None:
    labels, found = both(12)
    kept = [row for row in labels if (row["image_id"], row["category_id"]) != (2, 9)]  # a label is gone
    for row in kept:
        if (row["image_id"], row["category_id"]) == (5, 4):
            row["category_id"] = 9  # a class is swapped
        if (row["image_id"], row["category_id"]) == (7, 9):
            row["bbox"] = [28, 84, 16, 16]  # a box is moved by 8 px: 7 px from the detection, IoU 9 / 23
    kept.append(box(9, 4, 80, 80, 16, 16))  # and one lies on nothing
    doubts = doubted_labels(found, truth(kept, 12))
    assert told(doubts) == {(2, "missing", None), (5, "class", 9), (7, "location", 9), (9, "not_found", 4)}
    assert [d.score for d in doubts] == sorted((d.score for d in doubts), reverse=True)
    (moved,) = [d for d in doubts if d.kind == "location"]
    assert moved.overlap == pytest.approx(9 / 23)
    (swapped,) = [d for d in doubts if d.kind == "class"]
    assert swapped.detection is not None
    assert swapped.detection["category_id"] == 4


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
def test_crowd_and_difficult_boxes_are_no_labels_to_doubt_and_explain_detections(flag: str) -> None:
    labels, found = both(8)
    labels.append(box(3, 4, 60, 20, 30, 30, **{flag: 1}))  # nothing is found there
    labels.append(box(5, 4, 60, 20, 20, 20, **{flag: 1}))
    found.append(scored(5, 9, 0.9, 60, 20, 20, 20))  # of another class
    assert doubted_labels(found, truth(labels, 8)) == []


def test_of_a_class_that_is_not_annotated_exhaustively_no_label_is_missing() -> None:
    labels, found = both(8)
    found.append(scored(4, 9, 0.75, 50, 40, 20, 20))
    lists: dict[str, list[int]] = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    content = truth(labels, 8)
    content["images"] = [image | lists for image in content["images"]]
    assert told(doubted_labels(found, content)) == {(4, "missing", None)}
    content["images"][4]["not_exhaustive_category_ids"] = [9]
    assert doubted_labels(found, content) == []


def test_an_object_without_a_label_is_told_once() -> None:
    labels, found = both(8)
    found += [scored(4, 9, 0.75, 50, 40, 20, 20), scored(4, 4, 0.7, 51, 40, 20, 20)]
    (doubt,) = doubted_labels(found, truth(labels, 8))
    assert (doubt.kind, doubt.image_id, doubt.annotation) == ("missing", 4, None)
    assert doubt.detection is not None
    assert doubt.detection["score"] == 0.75


def test_trust_is_the_share_that_is_right_pooled_where_it_falls() -> None:
    labels = [box(0, 4, 20 * n, 0, 10, 10) for n in range(3)]
    places = {0.9: 0, 0.8: 200, 0.7: 20, 0.6: 40, 0.2: 300}  # score -> x; 200 and 300 are on nothing
    trust = trust_in([judge([scored(0, 4, score, x, 0, 10, 10) for score, x in places.items()], labels)])
    # 0.6 and 0.7 are right, 0.8 is wrong: 2/3 for the three together
    assert [trust(score) for score in (0.1, 0.2, 0.6, 0.75, 0.8, 0.9, 1.0)] == pytest.approx(
        [0, 0, 2 / 3, 2 / 3, 2 / 3, 1, 1]
    )


def test_detections_of_one_score_are_trusted_alike() -> None:
    labels = [box(0, 4, 20 * n, 0, 10, 10) for n in range(3)]
    found = [scored(0, 4, 0.9, 20 * n, 0, 10, 10) for n in (0, 1, 2, 5)]
    assert trust_in([judge(found, labels)])(0.9) == pytest.approx(3 / 4)


def seen(found: list[Row], labels: list[Row]) -> Seen:
    return Seen([*found], np.ones(len(found)), [*labels], iou_xyxy(boxes_xyxy(found), boxes_xyxy(labels)))


def test_expected_recall_leaves_the_box_itself_out() -> None:
    labels = [box(0, 4, 0, 0, 10, 10), box(0, 4, 20, 0, 10, 10), box(0, 4, 40, 0, 10, 10)]
    found = [scored(0, 4, 0.9, 0, 0, 10, 10), scored(0, 9, 0.5, 20, 0, 10, 10), scored(0, 4, 0.2, 40, 0, 10, 10)]
    expected = expected_recall([seen(found, labels)], 0.5)  # the third is found with too little
    # of the size: 2 of the other 2, with 2/3 overall in place of itself; of the class: 2 of 2, and 20 of that share
    of_size = (2 + 2 / 3) / 3
    assert expected(labels[2], False) == pytest.approx((2 + 20 * of_size) / 22)
    of_size = (1 + 2 / 3) / 3
    assert expected(labels[0], True) == pytest.approx((1 + 20 * of_size) / 22)


@pytest.mark.parametrize("labels", [[], [box(0, 4, 0, 0, 10, 10)]])
def test_without_detections_no_score_tells_anything(labels: list[Row]) -> None:
    assert telling_score([seen([], labels)]) == 0.0


def test_the_telling_score_is_beyond_what_lies_anywhere() -> None:
    """Each image has its object at another place; a detection of 0.01 lies at every place of every image."""
    places = [0.0, 20.0, 40.0, 60.0]
    images = []
    for n, own in enumerate(places):
        anywhere = [scored(n, 4, 0.01, x, 0, 10, 10) for x in places]
        real = [scored(n, 4, 0.3 + n / 10, own, 0, 10, 10)]
        images.append(seen(real + anywhere, [box(n, 4, own, 0, 10, 10)]))
    assert telling_score(images) == pytest.approx(0.3)


def test_a_box_on_nothing_is_told_although_detections_lie_anywhere() -> None:
    labels, found = both(8)
    labels.append(box(6, 4, 80, 80, 16, 16))
    found += [scored(n, 4, 0.01, 80, 80, 16, 16) for n in range(8)]
    (doubt,) = doubted_labels(found, truth(labels, 8))
    assert (doubt.kind, doubt.image_id) == ("not_found", 6)
