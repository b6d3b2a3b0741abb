"""What ``detzoo eval`` reads and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detzoo.comparison.evaluate_one import evaluate_file, evaluate_target, report
from detzoo.detector_loading import is_run
from detzoo.errors import DataError, DetzooError
from detzoo.evaluation.result_file import read_detections
from detzoo.runtime.switches import Switches
from detzoo.types import DetectionSettings

DATA = "shapes:size=64,train=4,val=2,test=3"
WANTED = "a COCO result file is a list of objects with image_id, category_id, bbox and score"


def perfect() -> list[dict[str, Any]]:
    from detzoo.data import open_dataset

    truth = open_dataset(DATA, "test").coco_ground_truth()
    keys = ("image_id", "category_id", "bbox")
    return [{k: a[k] for k in keys} | {"score": 0.5} for a in truth["annotations"]]


def test_perfect_file_scores_one(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(perfect()))
    evaluation = evaluate_file(path, None, DATA, None, engine="pycocotools")
    assert evaluation.metrics["AP"] == pytest.approx(1)
    text = report(evaluation, tmp_path / "out", width=400)
    assert text.splitlines()[0].startswith("shapes test: 3 images, ")
    truth = evaluation.ground_truth["annotations"]
    assert f"AP (n={len(truth)})" in text
    assert f"ARs (n={sum(row['area'] <= 32**2 for row in truth)})" in text
    assert text.splitlines()[-1] == f"wrote {tmp_path / 'out' / 'confusion.png'}"
    assert evaluation.facts["model"]["name"] == "found.json"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", " holds dict, not a list; " + WANTED),
        ("[1]", f": row 1 is not an object; {WANTED}"),
        ('[{"image_id": 1}]', f": row 1 has no category_id, score, bbox; {WANTED}"),
        (
            '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}]',
            f": row 1 has the bbox [1, 2, 3], not four numbers [x, y, width, height]; {WANTED}",
        ),
        (
            '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [9, 9, -3, 3]}]',
            ": row 1 has the bbox [9, 9, -3, 3] with a negative width or height (it is [x, y, width, height]); "
            + WANTED,
        ),
        (
            '[{"image_id": 1, "category_id": 1, "score": true, "bbox": [1, 2, 3, 4]}]',
            f": row 1 has the score True, not a number; {WANTED}",
        ),
        (
            '[{"image_id": 1, "category_id": "cat", "score": 1, "bbox": [1, 2, 3, 4]}]',
            f": row 1 has the category_id 'cat', not a whole number; {WANTED}",
        ),
    ],
)
def test_broken_result_files(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_detections(path)
    assert str(caught.value) == f"{path}{problem}"


def test_unreadable_result_files(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_detections(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path / 'none.json'} does not exist; give a COCO result file"
    (tmp_path / "cut.json").write_text("[{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_detections(tmp_path / "cut.json")


def test_either_a_detector_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(DetzooError) as caught:
        evaluate_file(tmp_path / "a.json", "ssd", DATA, None, engine="pycocotools")
    assert str(caught.value) == f"give either a detector (ssd) or --from {tmp_path / 'a.json'}, not both"
    with pytest.raises(DetzooError) as caught:
        evaluate_target(
            None,
            DATA,
            None,
            set_=None,
            device="cpu",
            batch=1,
            settings=DetectionSettings(),
            workers=1,
            engine="pycocotools",
            switches=Switches(),
        )
    assert str(caught.value) == (
        "detzoo eval needs a detector (a name, a recipe file, a run or a foreign one) or --from detections.json"
    )


def test_runs_and_recipes_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "model.bin").write_text("")
    targets = [tmp_path, tmp_path / "model.bin", tmp_path / "gone.safetensors", tmp_path / "mine.yaml"]
    assert [is_run(str(t)) for t in targets] == [True, True, True, False]
    assert not is_run(f"{tmp_path / 'mine.yaml'}#cells")
    assert not is_run("ssd300_vgg16_voc")
