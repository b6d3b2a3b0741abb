"""VOC AP: worked examples, and two published tools' numbers on their own files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pytest

from detzoo.evaluation.voc_map import ClassMatches, VocProtocol, average_precision, iou_xyxy, mean_ap, voc_map

Case: TypeAlias = tuple[list[dict[str, Any]], dict[str, Any]]
METRICS: tuple[Literal["11point", "area"], ...] = ("11point", "area")


def ground(boxes: list[tuple[Any, list[float]]], *hard: int) -> dict[str, Any]:
    """Ground truth of one category, boxes (image, xywh); ``hard`` lists the difficult ones."""
    return {
        "images": [{"id": i} for i in {image for image, _ in boxes}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 1, "bbox": b, "ignore": int(n in hard)}
            for n, (i, b) in enumerate(boxes)
        ],
    }


def found(*rows: tuple[Any, float, list[float]]) -> list[dict[str, Any]]:
    return [{"image_id": i, "category_id": 1, "score": s, "bbox": b} for i, s, b in rows]


BOX = [0.0, 0.0, 10.0, 10.0]


def test_empty_cases() -> None:
    assert voc_map([], ground([("a", BOX)])) == {1: 0.0}
    assert math.isnan(voc_map(found(("a", 0.5, BOX)), ground([]))[1])
    assert math.isnan(mean_ap({1: math.nan}))
    assert mean_ap({1: math.nan, 2: 0.5}) == 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_detections_score_one(metric: Any) -> None:
    truth = ground([("a", BOX), ("b", BOX), ("b", [50, 50, 9, 9])])
    perfect = found(("a", 0.9, BOX), ("b", 0.8, BOX), ("b", 0.7, [50, 50, 9, 9]))
    assert voc_map(perfect, truth, VocProtocol(metric=metric)) == {1: 1.0}


def test_second_match_of_a_box_is_a_false_positive() -> None:
    truth = ground([("a", BOX), ("b", BOX)])
    twice = found(("a", 0.9, BOX), ("a", 0.8, BOX), ("b", 0.7, BOX))
    # TP FP TP: precision 1 to recall 1/2, then 2/3.
    assert voc_map(twice, truth)[1] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # 11 points: 0 to .5 (six) at 1, .6 to 1 (five) at 2/3.
    assert voc_map(twice, truth, VocProtocol(metric="11point"))[1] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_difficult_boxes_are_neither_found_nor_missed() -> None:
    truth = ground([("a", BOX), ("a", [50, 50, 10, 10])], 1)
    assert voc_map(found(("a", 0.9, [50, 50, 10, 10]), ("a", 0.8, BOX)), truth) == {1: 1.0}
    assert voc_map(found(("a", 0.8, BOX)), truth) == {1: 1.0}


def test_a_detection_looks_only_at_its_best_box() -> None:
    # IoU with the first box 80/120, with the second 1; the second is taken: false positive, not a match of the first.
    truth = ground([("a", [0, 0, 10, 10]), ("a", [2, 0, 10, 10])])
    both = found(("a", 0.9, [2, 0, 10, 10]), ("a", 0.8, [2, 0, 10, 10]))
    assert voc_map(both, truth)[1] == pytest.approx(0.5)


def test_match_at_the_threshold() -> None:
    # 10 x 10 against 10 x 5 inside it: IoU exactly 1/2.
    half = found(("a", 0.9, [0, 0, 10, 5]))
    truth = ground([("a", BOX)])
    assert voc_map(half, truth, VocProtocol(iou=0.5, inclusive=True))[1] == 1.0
    assert voc_map(half, truth, VocProtocol(iou=0.5, inclusive=False))[1] == 0.0


def test_plus_one_sizes() -> None:
    a, b = np.array([[0.0, 0, 9, 9]]), np.array([[0.0, 0, 9, 4]])
    assert iou_xyxy(a, b)[0, 0] == pytest.approx(36 / 81)
    assert iou_xyxy(a, b, 1.0)[0, 0] == pytest.approx(50 / 100)
    truth, half = ground([("a", [0, 0, 9, 9])]), found(("a", 0.9, [0, 0, 9, 4]))
    assert voc_map(half, truth, VocProtocol(legacy_plus_one=False))[1] == 0.0
    assert voc_map(half, truth, VocProtocol(legacy_plus_one=True))[1] == 1.0


def test_recall_steps() -> None:
    # 10 objects: 6 right, 2 wrong, 1 right, 4 wrong, 2 right, 4 wrong, 1 right. Precision is 1 to recall .6, then
    # 7/9, 9/15 (twice), 10/20: exactly (7 + 7/9 + 2 x 3/5 + 1/2) / 11 = .8616.
    # arange(0, 1.1, .1) is a hair above .3, .6 and .7, so these read the next recall: 1, 7/9, 3/5 instead of
    # 1, 1, 7/9: (9.4778 - 2/5) / 11 = .8253.
    pattern = "1" * 6 + "00" + "1" + "0000" + "11" + "0000" + "1"
    true = np.array([c == "1" for c in pattern])
    matches = ClassMatches(scores=np.linspace(1, 0, len(true)), true=true, positives=10)
    exact = average_precision(matches, VocProtocol(metric="11point", recall_steps="exact"))
    rough = average_precision(matches, VocProtocol(metric="11point", recall_steps="float"))
    assert f"{exact:.4f} {rough:.4f}" == "0.8616 0.8253"


def test_order_of_rows_does_not_matter() -> None:
    truth = ground([("a", BOX), ("b", BOX)])
    rows = found(("a", 0.9, BOX), ("a", 0.8, [5, 5, 10, 10]), ("b", 0.7, BOX), ("b", 0.6, [90, 90, 5, 5]))
    assert voc_map(rows, truth) == voc_map(rows[::-1], truth)


def read_lines(folder: Path) -> list[tuple[str, list[str]]]:
    return [(p.stem, line.split()) for p in sorted(folder.glob("*.txt")) for line in p.read_text().splitlines()]


@pytest.fixture(scope="module")
def padilla(shared: Path) -> Case:
    folder = shared / "data" / "oracle-padilla-pascal"
    truth = ground([(i, [float(v) for v in words[1:]]) for i, words in read_lines(folder / "groundtruths")])
    rows = [(i, float(w[1]), [float(v) for v in w[2:]]) for i, w in read_lines(folder / "detections")]
    assert (len(truth["annotations"]), len(rows)) == (15, 24)
    return found(*rows), truth


@pytest.mark.parametrize(
    ("iou", "eleven", "area"),
    [
        (0.1, 0.3333333333, 0.3371980676),
        (0.3, 0.2683982683, 0.2456866804),
        (0.5, 0.0303030303, 0.0222222222),
        (0.75, 0.0, 0.0),
    ],
)
def test_oracle_padilla(padilla: Case, iou: float, eleven: float, area: float) -> None:
    # The toolkit steps through linspace(0, 1, 11), whose .6 is a hair too large: at IoU .1 recall ends at 9/15 = .6.
    protocols = [VocProtocol(iou=iou, metric=metric, legacy_plus_one=True, recall_steps="float") for metric in METRICS]
    got = [voc_map(padilla[0], padilla[1], protocol)[1] for protocol in protocols]
    assert got == pytest.approx([eleven, area], abs=1e-10)


def test_oracle_cartucho(shared: Path) -> None:
    folder = shared / "data" / "oracle-cartucho-map"
    lines = read_lines(folder / "input" / "ground-truth")
    names = sorted({words[0] for _, words in lines})
    assert (len(lines), len(names)) == (686, 30)

    def xywh(words: list[str]) -> list[float]:
        left, top, right, bottom = map(float, words)
        return [left, top, right - left, bottom - top]

    truth = {
        "images": [{"id": i} for i in {image for image, _ in lines}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": names.index(w[0]), "bbox": xywh(w[1:])}
            for n, (i, w) in enumerate(lines)
        ],
    }
    rows = [
        {"image_id": i, "category_id": names.index(w[0]), "score": float(w[1]), "bbox": xywh(w[2:])}
        for i, w in read_lines(folder / "input" / "detection-results")
        if w[0] in names
    ]
    per_class = voc_map(rows, truth, VocProtocol(legacy_plus_one=True))
    printed = {
        line.split()[2]: line.split("%")[0]
        for line in (folder / "expected_output.txt").read_text().splitlines()
        if "% = " in line
    }
    assert {name: f"{100 * per_class[n]:.2f}" for n, name in enumerate(names)} == printed
    assert f"{100 * mean_ap(per_class):.2f}" == "31.05"
