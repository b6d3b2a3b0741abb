"""Detections that were committed with the results are counted again: by both engines, to the last digit."""

import json
from pathlib import Path
from typing import Final

import pytest

from detzoo.comparison.evaluate_one import evaluate_file

RESULTS: Final = Path(__file__).parents[2] / "docs" / "results"
FILES: Final = sorted(RESULTS.rglob("detections.json.gz"))


def test_none_is_lost() -> None:
    """Of a comparison's rows, each has its detections."""
    for table in RESULTS.glob("zoo-*/table.json"):
        rows = json.loads(table.read_text(encoding="utf-8"))["rows"]
        folders = [table.parent / "detectors" / row["name"] for row in rows]
        assert [folder.name for folder in folders if not (folder / "detections.json.gz").exists()] == []
        assert len(rows) == 19
    assert len(FILES) == 2 * 19


BY_DEFAULT: Final = ("zoo-bccd/detectors/rfcn", "zoo-playing-cards/detectors/yolov3")
"""One per dataset format (VOC, COCO); the others are slow tests."""
CASES: Final = [
    pytest.param(path, id=name, marks=() if name in BY_DEFAULT else pytest.mark.slow)
    for path in FILES
    for name in [str(path.parent.relative_to(RESULTS))]
]


@pytest.mark.parametrize("path", CASES)
def test_both_engines_give_what_is_recorded(path: Path, shared: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    recorded = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
    data, split = recorded["data"]["name"], recorded["data"]["split"]
    ours, other = (
        evaluate_file(path, None, str(shared / "data" / data), split, engine=engine)
        for engine in ("pycocotools", "faster")
    )
    first, second = (json.loads(json.dumps(one.as_dict())) for one in (ours, other))  # undefined is null in both
    for part in ("metrics", "per_class"):
        assert first[part] == recorded[part]
        assert second[part] == first[part]
    assert ours.metrics["AP"] > 0.01  # there is something to count
