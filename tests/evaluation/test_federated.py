"""LVIS's federated evaluation: by hand, and against lvis-api's figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.eval import command
from detzoo.comparison.table import column_objects
from detzoo.data import open_dataset
from detzoo.errors import DataError, SettingError
from detzoo.evaluation import evaluate, evaluate_detections
from detzoo.evaluation.coco_map import coco_map
from detzoo.evaluation.curves import confusion
from detzoo.evaluation.f1_curves import f1_curves
from detzoo.evaluation.judging import IGNORED, TRUE, judge
from detzoo.evaluation.tide import error_split
from tests.evaluation.conftest import PaintFinder, Paintings
from tests.evaluation.federated_cases import CASES, FIGURES, case

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR300", "ARs", "ARm", "ARl")
MUG, SPOON, KITE = 4, 9, 2
BOX, FAR = [10.0, 10.0, 20.0, 20.0], [100.0, 100.0, 20.0, 20.0]


def image(own: int, *, negative: tuple[int, ...] = (), some: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"id": own, "height": 200, "width": 200, "neg_category_ids": list(negative),
            "not_exhaustive_category_ids": list(some)}  # fmt: skip


def truth(*images: dict[str, Any], boxes: tuple[tuple[int, int], ...] = ()) -> dict[str, Any]:
    """``boxes``: (image, category), each at BOX."""
    return {
        "images": list(images),
        "annotations": [
            {"id": n, "image_id": own, "category_id": category, "bbox": BOX, "area": 400.0}
            for n, (own, category) in enumerate(boxes, start=1)
        ],
        "categories": [
            {"id": KITE, "name": "kite", "frequency": "f"},
            {"id": MUG, "name": "mug", "frequency": "c"},
            {"id": SPOON, "name": "spoon", "frequency": "r"},
        ],
    }


def row(own: int, category: int, score: float, box: list[float] = BOX) -> dict[str, Any]:
    return {"image_id": own, "category_id": category, "bbox": box, "score": score}


def test_nothing_at_all() -> None:
    result = coco_map([], truth(image(1)))
    assert tuple(result.metrics) == NAMES
    assert all(math.isnan(value) for value in result.metrics.values())


def test_no_detection_and_no_object() -> None:
    metrics = coco_map([], truth(image(1), boxes=((1, MUG),))).metrics
    assert (metrics["AP"], metrics["APc"], metrics["AR300"]) == (0.0, 0.0, 0.0)
    metrics = coco_map([row(1, MUG, 0.9)], truth(image(1, negative=(MUG,)))).metrics
    assert math.isnan(metrics["AP"])


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (image(2), 1.0),  # nobody looked for mugs: the detection of score .95 says nothing
        (image(2, negative=(MUG,)), 0.5),  # there is none: one of two detections is right when the mug is found
        (image(2, negative=(SPOON,)), 1.0),
        (image(2, negative=(MUG,), some=(MUG,)), 1.0),
    ],
)
def test_a_detection_counts_where_its_class_was_looked_for(engine: Any, second: Any, expected: float) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    ground = truth(image(1), second, boxes=((1, MUG),))
    rows = [row(1, MUG, 0.9), row(2, MUG, 0.95)]
    result = coco_map(rows, ground, engine=engine)
    assert result.metrics["AP"] == result.metrics["APc"] == result.metrics["APs"] == pytest.approx(expected)
    assert result.per_class[MUG]["AP"] == pytest.approx(expected)
    assert result.per_class[MUG]["AR300"] == 1.0
    assert math.isnan(result.metrics["APr"])
    assert math.isnan(result.metrics["APf"])
    assert math.isnan(result.metrics["APm"])


@pytest.mark.parametrize(("some", "expected"), [((), 2 / 3), ((MUG,), 1.0)])
def test_what_is_not_annotated_exhaustively_is_forgiven(some: tuple[int, ...], expected: float) -> None:
    """Two mugs in two images, found at .9 and .8; a stray of .95: precision 1/2, then 2/3."""
    ground = truth(image(1, some=some), image(2), boxes=((1, MUG), (2, MUG)))
    rows = [row(1, MUG, 0.9), row(2, MUG, 0.8), row(1, MUG, 0.95, FAR)]
    assert coco_map(rows, ground).metrics["AP"] == pytest.approx(expected)
    assert error_split(rows, ground).ap50 == pytest.approx(expected)
    assert error_split(rows, ground).counts["background"] == (0 if some else 1)
    background = len(ground["categories"])
    assert confusion(rows, ground).counts[background].sum() == (0 if some else 1)
    assert f1_curves(rows, ground)[MUG].best == pytest.approx(2 * 2 / (2 if some else 3) / (2 / (2 if some else 3) + 1))


def test_forgiven_detections_are_still_right_where_they_find_a_box() -> None:
    box = {"id": 1, "image_id": 1, "category_id": MUG, "bbox": BOX, "area": 400.0}
    judged = judge([row(1, MUG, 0.9), row(1, MUG, 0.8, FAR)], [box], forgiven={MUG})
    assert [verdict.kind for verdict in judged.verdicts] == [TRUE, IGNORED]


def test_three_hundred_detections_of_an_image_over_all_classes() -> None:
    """300 spoons stand before the mug, whether or not anybody looked for spoons; so do none of another image."""
    strays = [row(1, SPOON, 0.9 + n / 10000, FAR) for n in range(300)]
    ground = truth(image(1, negative=(SPOON,)), image(2), boxes=((1, MUG),))
    rows = [row(1, MUG, 0.5), *strays]
    assert coco_map(rows, ground).metrics["AP"] == 0.0
    assert coco_map(rows, truth(image(1), boxes=((1, MUG),))).metrics["AP"] == 0.0
    assert coco_map(rows[:300], ground).metrics["AP"] == 1.0
    more = coco_map(rows, ground, max_detections=301)
    assert (more.metrics["AP"], more.metrics["AR301"]) == (1.0, 1.0)
    other = [row(2, SPOON, score["score"], FAR) for score in strays]
    assert coco_map([row(1, MUG, 0.5), *other], ground).metrics["AP"] == 1.0


def test_frequencies() -> None:
    """The rare spoon is found, the common mug is not, the frequent kite is found after a stray."""
    ground = truth(image(1), image(2, negative=(KITE,)), boxes=((1, SPOON), (1, MUG), (1, KITE)))
    rows = [row(1, SPOON, 0.9), row(1, KITE, 0.8), row(2, KITE, 0.9)]
    metrics = coco_map(rows, ground).metrics
    assert (metrics["APr"], metrics["APc"], metrics["APf"]) == pytest.approx((1.0, 0.0, 0.5))
    assert metrics["AP"] == pytest.approx(0.5)


def test_objects_behind_each_number_of_a_comparison(tmp_path: Path) -> None:
    ground = truth(image(1), image(2), boxes=((1, SPOON), (1, MUG), (2, MUG)))
    Image.new("RGB", (200, 200)).save(tmp_path / "1.jpg")
    Image.new("RGB", (200, 200), "red").save(tmp_path / "2.jpg")
    for own in ground["images"]:
        own["file_name"] = f"{own['id']}.jpg"
    (tmp_path / "val.json").write_text(json.dumps(ground))
    objects = column_objects(open_dataset(tmp_path / "val.json", quiet=True))
    assert {key: objects[key] for key in ("AP", "AP50", "APs", "APm", "APr", "APc", "APf")} == {
        "AP": 3, "AP50": 3, "APs": 3, "APm": 0, "APr": 1, "APc": 2, "APf": 0,
    }  # fmt: skip


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
@pytest.mark.parametrize(("seed", "kind"), CASES)
def test_figures_of_lvis_api(seed: int, kind: Any, engine: Any) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    expected = json.loads(FIGURES.read_text())[f"{seed} {kind}"]
    ground, rows = case(seed, masks=kind == "segm")
    metrics = coco_map(rows, ground, iou_type=kind, engine=engine).metrics
    ours = {name: -1.0 if math.isnan(value) else value for name, value in metrics.items()}
    theirs = {name.removesuffix("@300") + ("300" if name == "AR@300" else ""): v for name, v in expected.items()}
    assert ours == pytest.approx(theirs, abs=1e-12)
    if kind == "bbox":
        assert error_split(rows, ground).ap50 == pytest.approx(expected["AP50"], abs=1e-12)


def test_ground_truth_that_is_half_federated() -> None:
    plain = {"id": 2, "height": 200, "width": 200}
    with pytest.raises(DataError, match="neg_category_ids of image 2"):
        coco_map([], truth(image(1), plain))


def test_a_limit_below_lviss_own() -> None:
    with pytest.raises(SettingError, match=r"300 .*or more, found 100"):
        coco_map([], truth(image(1)), max_detections=100)


def test_the_protocol_is_named_and_voc_is_left_out() -> None:
    found = evaluate_detections([row(1, MUG, 0.9)], truth(image(1), boxes=((1, MUG),)))
    protocol = found.facts["protocol"]
    assert protocol["counting"] == "LVIS federated, 300 detections per image"
    assert "voc" not in protocol
    assert tuple(found.metrics) == NAMES
    assert set(found.per_class["mug"]) >= {"AP", "AR300", "ground_truths", "detections"}


class Federated(Paintings):
    """Of whose images nobody said more than what their boxes say."""

    def coco_ground_truth(self) -> dict[str, Any]:
        found = super().coco_ground_truth()
        nothing: dict[str, list[int]] = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        return found | {"images": [own | nothing for own in found["images"]]}


def test_a_detector_that_reports_fewer_than_are_counted() -> None:
    found = evaluate(PaintFinder(), Federated(count=2), progress=False)
    assert found.facts["protocol"]["counting"].startswith("LVIS")
    assert any("--keep 300" in warning for warning in found.warnings)
    assert not any("--keep" in warning for warning in evaluate(PaintFinder(), Federated(count=2), keep=300).warnings)
    with pytest.raises(SettingError, match="300"):
        evaluate(PaintFinder(), Federated(count=2), max_detections=200)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    ground = truth(image(1), image(2), boxes=((1, MUG), (2, SPOON)))
    for own in ground["images"]:
        own["coco_url"] = f"http://images.cocodataset.org/val2017/{own['id']}.jpg"
        Image.new("RGB", (200, 200)).save(tmp_path / "val2017" / f"{own['id']}.jpg")
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(ground))
    rows = [row(1, MUG, 0.9), row(2, MUG, 0.95), row(2, SPOON, 0.4)]
    (tmp_path / "found.json").write_text(json.dumps(rows))
    app = typer.Typer()
    app.command()(command)
    data = ["--from", str(tmp_path / "found.json"), "--data", str(tmp_path / "lvis_v1_val.json"), "--no-curves"]
    done = CliRunner().invoke(app, [*data, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "LVIS federated, 300 detections per image" in " ".join(done.output.split())
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (written["metrics"]["AP"], written["metrics"]["APr"], written["metrics"]["APf"]) == (1.0, 1.0, None)
