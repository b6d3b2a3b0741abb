"""How many objects stand behind each AP."""

from __future__ import annotations

from typing import Any

from detzoo.evaluation.object_counts import metric_objects, object_counts, of_all_classes


def truth(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {"images": [{"id": 1}], "categories": [{"id": 1}, {"id": 3}], "annotations": list(annotations)}


def test_nothing() -> None:
    assert object_counts(truth()) == {1: {"AP": 0, "APs": 0, "APm": 0, "APl": 0}} | {
        3: {"AP": 0, "APs": 0, "APm": 0, "APl": 0}
    }
    assert of_all_classes({}) == {"AP": 0, "APs": 0, "APm": 0, "APl": 0}


def test_sizes_as_in_pycocotools() -> None:
    """Also held against pycocotools' own rule: an object of exactly 32² is both small and medium."""
    areas = [100.0, 1024.0, 1024.5, 9216.0, 20_000.0]
    rows = [{"category_id": 1, "bbox": [0, 0, 1, 1], "area": area} for area in areas]
    assert object_counts(truth(*rows))[1] == {"AP": 5, "APs": 2, "APm": 3, "APl": 2}


def test_what_does_not_count_and_missing_areas() -> None:
    rows: list[dict[str, Any]] = [
        {"category_id": 1, "bbox": [0, 0, 50, 50], "ignore": 1},
        {"category_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 1},
        {"category_id": 3, "bbox": [0, 0, 50, 50]},
        {"category_id": 3, "bbox": [0, 0, 50, 50], "area": 10.0},
    ]
    counts = object_counts(truth(*rows))
    assert counts[3] == {"AP": 2, "APs": 1, "APm": 1, "APl": 0}
    assert of_all_classes(counts) == {"AP": 2, "APs": 1, "APm": 1, "APl": 0}


def test_objects_of_each_metric() -> None:
    rows = [{"category_id": 1, "bbox": [0, 0, side, side]} for side in (10, 50, 50, 100)]
    found = metric_objects(truth(*rows), ("AP", "AP75", "APs", "ARm", "mask_APl", "voc07_AP50", "AR100"))
    assert found == {"AP": 4, "AP75": 4, "APs": 1, "ARm": 2, "mask_APl": 1, "voc07_AP50": 4, "AR100": 4}
