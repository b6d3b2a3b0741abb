"""Boxes are cut to the image, before or after suppression."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from detzoo.components.postprocess import detections as module
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.suppress import Nms
from detzoo.types import Candidates, Predictions
from tests.components.postprocess.scene import batch_of, scene, ssd_post


def test_boxes_are_clipped_to_the_image_not_the_padding() -> None:
    predictions, candidates, batch = scene(images=1)
    batch.region.copy_(torch.tensor([[20.0, 30, 200, 180]]))
    found = ssd_post()(predictions, candidates, batch).boxes[0]
    assert found.amin(0)[:2].tolist() == [20, 30]
    assert found.amax(0)[2:].tolist() == [200, 180]


def by_hand(
    boxes: list[list[float]], scores: list[float], limit: float, iou: float, *, cut_first: bool
) -> list[tuple[list[float], float]]:
    """Greedy suppression of one class in plain NumPy; boxes cut to [0, limit] before or after it."""
    rows = np.asarray(boxes, dtype=np.float64)
    if cut_first:
        rows = np.clip(rows, 0, limit)
    kept: list[int] = []
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        for better in kept:
            width = min(rows[row, 2], rows[better, 2]) - max(rows[row, 0], rows[better, 0])
            height = min(rows[row, 3], rows[better, 3]) - max(rows[row, 1], rows[better, 1])
            shared = max(width, 0) * max(height, 0)
            areas = [float(np.prod(rows[one, 2:] - rows[one, :2])) for one in (row, better)]
            if shared > iou * (sum(areas) - shared):
                break
        else:
            kept.append(int(row))
    return [(np.clip(rows[row], 0, limit).tolist(), scores[row]) for row in kept]


@pytest.mark.parametrize("clip", ["before", "after"])
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("top", [{"per_class_top_k": None}, {"per_level_top_k": 400}])
def test_boxes_are_cut_before_or_after_suppression(
    clip: Literal["before", "after"], looks: bool, top: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: looks)
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(60, 2, generator=generator) * 140 - 40  # many reach beyond 0..100
    boxes = torch.cat([corner, corner + 30 + 40 * torch.rand(60, 2, generator=generator)], 1)
    logits = torch.randn(1, 60, 1, generator=generator)
    said = Predictions(logits, "sigmoid", torch.zeros(1, 60, 1, 4))
    places = Candidates(boxes[None], torch.ones(1, 60, dtype=torch.bool))
    batch = replace(batch_of(1), region=torch.tensor([[0.0, 0, 100, 100]]))
    post = PerClassDetections(suppress=Nms(iou=0.4), score_threshold=0.0, keep=60, clip=clip, **top)
    found = post(said, places, batch)
    scores = torch.sigmoid(logits.flatten()).tolist()
    expected = by_hand(boxes.tolist(), scores, 100.0, 0.4, cut_first=clip == "before")
    other = by_hand(boxes.tolist(), scores, 100.0, 0.4, cut_first=clip == "after")
    assert [score for _, score in expected] != [score for _, score in other]  # the scene tells the two apart
    count = int(found.valid.sum())
    assert count == len(expected)
    torch.testing.assert_close(found.boxes[0, :count], torch.tensor([box for box, _ in expected]))
    torch.testing.assert_close(found.scores[0, :count], torch.tensor([score for _, score in expected]))
    assert not found.boxes[0, count:].any()


def test_suppression_first_tells_two_boxes_apart_that_look_alike_inside_the_image() -> None:
    """[-90,0,10,10] and [0,0,10,10] share 100 of 1,000 px^2, and all of what lies in the image."""
    boxes = torch.tensor([[[-90.0, 0, 10, 10], [0, 0, 10, 10]]])
    said = Predictions(torch.tensor([[[2.0], [1.0]]]), "sigmoid", torch.zeros(1, 2, 1, 4))
    places = Candidates(boxes, torch.ones(1, 2, dtype=torch.bool))
    found = {
        clip: PerClassDetections(suppress=Nms(iou=0.5), clip=clip)(said, places, batch_of(1))
        for clip in ("before", "after")
    }
    assert [int(one.valid.sum()) for one in found.values()] == [1, 2]
    assert found["after"].boxes[0, :2].tolist() == [[0, 0, 10, 10], [0, 0, 10, 10]]
