"""Masks from logits to what the user gets: pasted in original pixels, drawn, written as run lengths, scored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from detzoo.components.postprocess.top_k import TopK
from detzoo.data import open_dataset
from detzoo.data.shapes import ShapesDataset
from detzoo.evaluation import evaluate, evaluate_detections
from detzoo.evaluation.collect import coco_rows
from detzoo.evaluation.engines import Engine
from detzoo.interfaces import Detector
from detzoo.ops.mask_encoding import decode_counts
from detzoo.ops.masks import MaskPasting
from detzoo.prediction.detections import Detections
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.predict import predict
from detzoo.prediction.predict_files import annotate
from detzoo.runtime.drawing import colour_of
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions, Targets

LETTERBOX = InputSpec(size=(64, 64), resize="letterbox", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Halves(Detector):
    """Finds the left half and the whole of every image; the masks are the upper half of each box, and all of it."""

    def __init__(self, *, count: int = 2, pasting: MaskPasting | None = None) -> None:
        super().__init__()
        self.input, self.classes, self.count = LETTERBOX, ("a", "b"), count
        self.postprocess = TopK(keep=2, score_threshold=0.05)
        if pasting is not None:
            self.mask_pasting = pasting

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        left, top, right, bottom = batch.region.unbind(1)
        boxes = torch.stack([torch.stack([left, top, (left + right) / 2, bottom], 1), batch.region], 1)
        images = len(boxes)
        scores = torch.tensor([0.9, 0.6]).diag().expand(images, 2, 2)
        valid = torch.arange(2).expand(images, 2) < self.count
        return Candidates(boxes, valid), Predictions(scores, "linear", torch.zeros(images, 2, 1, 4))

    def finish(
        self, seen: tuple[Any, ...], batch: ImageBatch, settings: DetectionSettings | None = None
    ) -> DetectionBatch:
        found = super().finish(seen, batch, settings)
        return dataclasses.replace(found, mask_logits=logits().expand(len(found.boxes), -1, -1, -1))

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        raise NotImplementedError


def logits() -> Tensor:
    masks = torch.full((2, 28, 28), 9.0)
    masks[0, 14:] = -9.0
    return masks


def image(height: int, width: int, value: int = 255) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def masks_of(found: Detections) -> Tensor:
    assert found.masks is not None
    return found.masks


def test_no_detections_have_no_masks_but_their_shape() -> None:
    (found,) = predict(Halves(count=0), [image(20, 30)], channels="rgb")
    assert masks_of(found).shape == (0, 20, 30)
    assert masks_of(found).dtype == torch.bool


def test_masks_come_back_in_original_pixels_of_images_of_any_size() -> None:
    for found, (height, width) in zip(
        predict(Halves(), [image(40, 80), image(90, 60), image(7, 5)], channels="rgb"),
        [(40, 80), (90, 60), (7, 5)],
        strict=True,
    ):
        upper_left, whole = masks_of(found)
        assert whole.shape == (height, width)
        assert whole.float().mean() > 0.99
        expected = torch.zeros(height, width, dtype=torch.bool)
        expected[: height // 2, : width // 2] = True
        assert (upper_left ^ expected).sum() <= height + width  # a row and a column of rounding


def test_the_recipe_chooses_how_masks_are_pasted() -> None:
    images = [image(37, 80)]
    (exact,) = predict(Halves(pasting=MaskPasting("half_pixel", 0.5)), images, channels="rgb")
    (whole,) = predict(Halves(pasting=MaskPasting("integer", 0.5)), images, channels="rgb")
    assert not torch.equal(masks_of(exact), masks_of(whole))
    theirs = paste_masks_in_image(logits().sigmoid()[:, None], whole.boxes, (37, 80))[:, 0]
    assert torch.equal(masks_of(whole), theirs > 0.5)
    (strict,) = predict(Halves(pasting=MaskPasting("integer", 0.9)), images, channels="rgb")
    assert torch.equal(masks_of(strict), theirs > 0.9)


def test_an_image_gets_the_same_masks_alone_and_in_a_batch() -> None:
    images = [image(40, 80), image(64, 64)]
    together = predict(Halves(), images, channels="rgb")
    for one, found in zip(images, together, strict=True):
        assert torch.equal(masks_of(predict(Halves(), [one], channels="rgb")[0]), masks_of(found))


def test_masks_are_drawn_below_the_boxes() -> None:
    (found,) = predict(Halves(), [image(200, 300)], channels="rgb")
    drawn = found.draw(image(200, 300), min_score=0.8)
    tinted = tuple(round(0.55 * 255 + 0.45 * value) for value in colour_of(0))
    assert tuple(drawn[60, 60]) == tinted
    assert tuple(drawn[150, 60]) == (255, 255, 255)  # in the box, but not in the mask


def test_predict_writes_run_lengths(tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), image(40, 80))
    summary = annotate(Halves(), [str(tmp_path / "a.png")], tmp_path / "out")
    assert summary.records == json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    (found,) = predict(Halves(), [image(40, 80)], channels="rgb")
    for record, mask in zip(summary.records[0]["detections"], masks_of(found).numpy(), strict=True):
        assert record["segmentation"]["size"] == [40, 80]
        decoded = decode_counts(record["segmentation"]["counts"].encode(), (40, 80))
        np.testing.assert_array_equal(decoded.astype(bool), mask)


@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
def test_the_true_masks_score_one_and_shifted_ones_less(engine: Engine) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    data = ShapesDataset(split="val", count=4, size=64)
    scores = []
    for shift in (0, 4):
        rows = []
        for position, image_id in enumerate(data.image_ids):
            own = data.sample(position)
            assert own.masks is not None
            found = Detections(
                boxes=torch.from_numpy(own.boxes),
                scores=torch.linspace(0.9, 0.8, len(own.boxes)),
                labels=torch.from_numpy(own.labels),
                classes=data.classes,
                size=own.image.shape[:2],
                masks=torch.from_numpy(np.roll(own.masks, shift, 2).astype(bool)),
            )
            rows += coco_rows(found, image_id, data.category_ids)[0]
        result = evaluate_detections(rows, data.coco_ground_truth(), engine=engine)
        assert result.metrics["AP"] == 1.0  # the boxes stay
        scores.append(result.metrics["mask_AP"])
    assert scores[0] == 1.0
    assert 0 < scores[1] < 0.9


def test_the_engines_agree_on_masks_to_the_last_digit(shared: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    data = open_dataset(shared / "data" / "nuclei", "val").subset(range(3))
    detector = Halves()
    detector.classes = (data.classes[0], None)
    plain, faster = (evaluate(detector, data, engine=engine, progress=False) for engine in ("pycocotools", "faster"))
    assert plain.metrics["mask_AP"] < 0.01
    assert {name: str(value) for name, value in plain.metrics.items()} == {
        name: str(value) for name, value in faster.metrics.items()
    }


def test_objects_without_masks_leave_mask_ap_out_and_say_so() -> None:
    truth: dict[str, Any] = {
        "images": [{"id": 1, "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0}],
    }
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.5, "segmentation": {"size": [8, 8]}}
    result = evaluate_detections([row], truth)
    assert "mask_AP" not in result.metrics
    assert result.warnings == ("there is no mask AP: not every object of the ground truth has a segmentation",)
