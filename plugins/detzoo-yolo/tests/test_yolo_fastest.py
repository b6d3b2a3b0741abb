"""Somebody else's trained detectors: raw outputs, detections and AP of an independent implementation (OpenCV's)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import detzoo
from detzoo import build, convert_weights
from detzoo.data import open_dataset
from detzoo.interfaces import Detector
from detzoo.ops.boxes import xyxy_to_cxcywh
from detzoo.prediction.prepare import prepare
from detzoo.runtime.images import read_image
from detzoo.types import DetectionSettings

FILES = {"yolo_fastest_coco": "yolo-fastest-1.1", "yolo_fastest_xl_coco": "yolo-fastest-1.1-xl"}
PHOTOS = ("000000000139", "000000000785")
AP = {"yolo_fastest_coco": (0.161, 0.371), "yolo_fastest_xl_coco": (0.225, 0.451)}


@pytest.fixture(scope="module", params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def detector(name: str, shared: Path) -> Detector:
    made = build(name, weights=None).eval()
    folder = shared / "weights" / "yolo-fastest-coco" / "yolo-fastest-1.1_coco"
    convert_weights(made, folder / f"{FILES[name]}.weights", source="darknet")
    return made


@pytest.fixture(scope="module")
def reference(shared: Path) -> Path:
    return shared / "weights" / "yolo-fastest-coco" / "reference"


def raw_outputs(detector: Detector, image: Any) -> dict[str, np.ndarray[Any, Any]]:
    """As the reference has them: cx cy w h (relative), objectness, 80 x objectness * class, small ones zeroed."""
    batch = prepare([image], detector.input)
    with torch.no_grad():
        places, said = detector.network(batch)
    boxes = places.coder.decode(said.deltas[0, :, 0], places.boxes[0], places.strides())
    objectness = said.quality_logits[0].sigmoid().unsqueeze(1)
    scores = objectness * said.class_logits[0].sigmoid()
    rows = torch.cat([xyxy_to_cxcywh(boxes) / 320, objectness, torch.where(scores > 1e-4, scores, 0)], 1).numpy()
    return {"yolo_130": rows[:1200], "yolo_121": rows[1200:]}  # stride 16, then 32


@pytest.mark.parametrize("photo", PHOTOS)
def test_raw_outputs(detector: Detector, name: str, shared: Path, reference: Path, photo: str) -> None:
    golden = np.load(reference / f"{FILES[name]}_{photo}.npz")
    image = read_image(shared / "data" / "coco128" / "images" / "val2017" / f"{photo}.jpg")
    found = raw_outputs(detector, image)
    assert sorted(golden) == sorted(found)
    for key, expected in golden.items():
        np.testing.assert_allclose(found[key], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("photo", PHOTOS)
def test_detections(detector: Detector, name: str, shared: Path, reference: Path, photo: str) -> None:
    everything = json.loads((reference / f"{FILES[name]}_coco128val_dets_ge0.3.json").read_text())
    golden = sorted((row for row in everything if row["image_id"] == int(photo)), key=lambda row: -row["score"])
    path = shared / "data" / "coco128" / "images" / "val2017" / f"{photo}.jpg"
    found = detector.predict([path], score_threshold=0.3)[0]
    assert len(golden) > 1
    assert found.labels.tolist() == [row["category_id"] for row in golden]
    torch.testing.assert_close(found.scores, torch.tensor([row["score"] for row in golden]), atol=1e-3, rtol=0)
    boxes = torch.tensor([row["bbox"] for row in golden])
    boxes[:, 2:] += boxes[:, :2]
    height, width = found.size
    clipped = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height], dtype=torch.float32))
    torch.testing.assert_close(found.boxes, clipped, atol=0.02, rtol=0)  # the file rounds to 0.01 px


def darknets_way(rows: np.ndarray[Any, Any], threshold: float, iou: float) -> dict[int, list[tuple[float, Any]]]:
    """Per class, (score, box in network px) of kept rows: do_nms_sort and the cut at the border, in plain loops."""
    found: dict[int, list[tuple[float, Any]]] = {}
    centre, sides = rows[:, :2] * 320.0, rows[:, 2:4] * 320.0
    boxes = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1).astype(np.float64)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    for label in range(80):
        scores = rows[:, 5 + label]
        kept: list[int] = []
        for row in np.argsort(-scores, kind="stable"):
            if scores[row] <= threshold:
                break
            low, high = np.maximum(boxes[kept, :2], boxes[row, :2]), np.minimum(boxes[kept, 2:], boxes[row, 2:])
            shared = np.clip(high - low, 0, None).prod(axis=1)
            if not (shared / (areas[kept] + areas[row] - shared) > iou).any():
                kept.append(int(row))
        if kept:
            found[label] = [(float(scores[row]), np.clip(boxes[row], 0, 320)) for row in kept]
    return found


@pytest.mark.parametrize("photo", PHOTOS)
def test_every_detection_is_that_of_a_plain_loop_over_uncut_boxes(detector: Detector, shared: Path, photo: str) -> None:
    image = read_image(shared / "data" / "coco128" / "images" / "val2017" / f"{photo}.jpg")
    assert assert_as_darknet(detector, image) > 20


def assert_as_darknet(detector: Detector, image: Any) -> int:
    """Compare the detections of one image; how many there are."""
    expected = darknets_way(np.concatenate(list(raw_outputs(detector, image).values())), 0.005, 0.45)
    batch = prepare([image], detector.input)
    with torch.no_grad():
        found = detector.detect(batch, DetectionSettings(score_threshold=0.005, nms_iou=0.45, keep=5000))
    count = sum(len(rows) for rows in expected.values())
    assert int(found.valid.sum()) == count > 0
    for label, rows in expected.items():
        own = found.valid[0] & (found.labels[0] == label)
        np.testing.assert_allclose(found.scores[0][own].numpy(), [score for score, _ in rows], atol=1e-5)
        np.testing.assert_allclose(found.boxes[0][own].numpy(), np.stack([box for _, box in rows]), atol=0.01)
    return count


def test_darknets_class_names_are_aliases(detector: Detector, shared: Path) -> None:
    """Its coco.names spell six classes as VOC does; the evaluator takes both."""
    from detzoo.evaluation.classes import map_classes

    folder = shared / "weights" / "yolo-fastest-coco" / "yolo-fastest-1.1_coco"
    theirs = (folder / "coco.names").read_text().split("\n")[:80]
    ours = [str(one) for one in detector.classes]
    assert [name for name, own in zip(theirs, ours, strict=True) if name != own] == [
        "motorbike", "aeroplane", "sofa", "pottedplant", "diningtable", "tvmonitor",
    ]  # fmt: skip
    assert map_classes(theirs, ours, range(80)).category_of == tuple(range(80))


@pytest.mark.slow
def test_ap_on_coco128(detector: Detector, name: str, shared: Path) -> None:
    data = open_dataset(shared / "data" / "coco128" / "object_detection", "val", quiet=True)
    unclipped = ap_without_clipping(detector, data)
    assert unclipped == pytest.approx(AP[name], abs=0.005)
    metrics = detzoo.evaluate(detector, data).metrics
    # detzoo cuts boxes at the border of the image, which the reference does not; that is worth up to 0.006
    assert 0 <= metrics["AP"] - AP[name][0] < 0.01
    assert metrics["AP50"] == pytest.approx(AP[name][1], abs=0.005)


def ap_without_clipping(detector: Detector, data: Any) -> tuple[float, float]:
    """AP and AP50 by pycocotools of boxes as the network gives them."""
    truth, rows = COCO(), []
    truth.dataset = {
        "images": [{"id": i} for i in range(len(data))],
        "categories": [{"id": label} for label in range(80)],
        "annotations": [],
    }
    for position in range(len(data)):
        sample = data.sample(position)
        for box, label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
            sides = box[2] - box[0], box[3] - box[1]
            row = {"image_id": position, "category_id": label, "bbox": [*box[:2], *sides]}
            extra = {"id": len(truth.dataset["annotations"]) + 1, "area": sides[0] * sides[1], "iscrowd": 0}
            truth.dataset["annotations"].append(row | extra)
        batch = prepare([sample.image], detector.input)
        everywhere = torch.tensor([[-1e6, -1e6, 1e6, 1e6]])
        with torch.no_grad():
            found = detector.detect(dataclasses.replace(batch, region=everywhere))
        boxes = found.boxes[0] / batch.scale[0].flip(0).repeat(2)
        for valid, box, score, label in zip(
            found.valid[0].tolist(), boxes.tolist(), found.scores[0].tolist(), found.labels[0].tolist(), strict=True
        ):
            if valid:
                sides = box[2] - box[0], box[3] - box[1]
                row = {"image_id": position, "category_id": label, "bbox": [*box[:2], *sides], "score": score}
                rows.append(row)
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])
