"""Detections counted of an image, and the choices of VOC AP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from detzoo.cli.eval import command
from detzoo.errors import SettingError
from detzoo.evaluation import evaluate_detections
from detzoo.evaluation.coco_map import coco_map
from detzoo.evaluation.voc_map import VocProtocol, voc_protocol


def crowd(count: int, *, ignored: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Perfect detections, by falling score, and ground truth: ``count`` squares side by side in one image."""
    boxes = [[30.0 * (n % 30), 30.0 * (n // 30), 20.0, 20.0] for n in range(count)]
    truth = {
        "images": [{"id": 1, "height": 1000, "width": 1000, "file_name": "1.jpg"}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": n + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 400.0, "iscrowd": 0,
             "ignore": int(n < ignored)}
            for n, box in enumerate(boxes)
        ],
    }  # fmt: skip
    found = [{"image_id": 1, "category_id": 1, "bbox": b, "score": 1 - n / 1000} for n, b in enumerate(boxes)]
    return found, truth


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
def test_a_hundred_and_fifty_objects_of_a_class(engine: Any) -> None:
    """100 of 150 are found: recall points 0 to .66 have a precision of 1, 67 of 101."""
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    found, truth = crowd(150)
    usual = coco_map(found, truth, engine=engine)
    assert usual.metrics["AP"] == pytest.approx(67 / 101)
    (warning,) = usual.warnings
    for part in ("1 image has more than 100 objects", "150 of 'cell'", "--max-dets 150"):
        assert part in warning
    more = coco_map(found, truth, engine=engine, max_detections=150)
    assert more.metrics["AP"] == more.per_class[1]["AP50"] == 1.0
    assert more.warnings == ()
    assert more.metrics["AR100"] == usual.metrics["AR100"] == pytest.approx(100 / 150)
    assert (more.metrics["AR1"], more.metrics["AR10"]) == pytest.approx((1 / 150, 10 / 150))


@pytest.mark.parametrize(("count", "ignored"), [(0, 0), (100, 0), (130, 30)])
def test_no_warning_where_all_that_counts_fits(count: int, ignored: int) -> None:
    found, truth = crowd(count, ignored=ignored)
    assert not [line for line in coco_map(found, truth).warnings if "more than" in line]


def test_the_limit_is_recorded_and_bounded() -> None:
    found, truth = crowd(3)
    assert evaluate_detections(found, truth, max_detections=300).facts["protocol"]["coco"]["max_detections"] == 300
    with pytest.raises(SettingError, match=r"100 .* or more, found 99"):
        evaluate_detections(found, truth, max_detections=99)


def test_choices_of_voc() -> None:
    assert voc_protocol([]) == VocProtocol()
    chosen = voc_protocol(["recall_steps=float", "inclusive = false", "legacy_plus_one=true"])
    assert chosen == VocProtocol(recall_steps="float", inclusive=False, legacy_plus_one=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["recall=float"], "keys are recall_steps, inclusive, legacy_plus_one"),
        (["inclusive"], "write key=value"),
        (["inclusive=0"], "found '0', allowed: true, false"),
        (["recall_steps=arange"], "found 'arange', allowed: exact, float"),
        (["inclusive=true", "inclusive=false"], "inclusive is given twice"),
    ],
)
def test_a_choice_that_is_none(given: list[str], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        voc_protocol(given)


def ten_objects(found: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows, truth = crowd(10)
    return rows[:found], truth


def test_recall_steps_by_hand() -> None:
    """3 of 10 found, all right: exact steps 0, .1, .2, .3 are reached; float64's 0.30000000000000004 is not."""
    rows, truth = ten_objects(3)
    got = [evaluate_detections(rows, truth, voc=voc_protocol([f"recall_steps={s}"])) for s in ("exact", "float")]
    assert [one.metrics["voc07_AP50"] for one in got] == pytest.approx([4 / 11, 3 / 11])
    assert got[1].facts["protocol"]["voc"]["recall_steps"] == "float"


def test_a_match_at_the_threshold_and_inclusive_pixels_by_hand() -> None:
    """Boxes of 2x1 and 1x1 px share 1 of 2: IoU .5; with +1 they are 3x2 and 2x2, and share 4 of 6."""
    _, truth = crowd(1)
    truth["annotations"][0] |= {"bbox": [0, 0, 2, 1], "area": 2}
    rows = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.9}]
    for choices, expected in (
        ([], 1.0),
        (["inclusive=false"], 0.0),
        (["inclusive=false", "legacy_plus_one=true"], 1.0),
    ):
        got = evaluate_detections(rows, truth, voc=voc_protocol(choices)).metrics["voc10_AP50"]
        assert got == expected, choices


def test_the_command(tmp_path: Path) -> None:
    found, truth = crowd(150)
    (tmp_path / "found.json").write_text(json.dumps(found))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    app = typer.Typer()
    app.command()(command)
    given = ["--from", str(tmp_path / "found.json"), "--data", str(tmp_path / "truth.json"), "--no-curves"]

    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "usual")])
    assert done.exit_code == 0, done.output
    assert "more than 100 objects of a class" in " ".join(done.output.split())
    chosen = ["--max-dets", "200", "--voc-protocol", "recall_steps=float", "--voc-protocol", "inclusive=false"]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "more"), *chosen])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "more" / "results.json").read_text())
    assert written["metrics"]["AP"] == 1.0
    assert written["protocol"]["coco"]["max_detections"] == 200
    voc = written["protocol"]["voc"]
    assert (voc["recall_steps"], voc["match_at_threshold"], voc["plus_one_sizes"]) == ("float", False, False)
