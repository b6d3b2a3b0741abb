"""Conventions of older releases, each against its own formula written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from detzoo.components.anchors import Grid
from detzoo.components.box_coders import CentreSize
from detzoo.components.postprocess import detections as module
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.suppress import KeepAll, Nms
from detzoo.errors import RecipeError
from detzoo.types import Candidates, ImageBatch, Predictions

STRIDES = torch.ones(())


def py_faster_rcnn(boxes: np.ndarray[Any, Any], deltas: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """bbox_transform_inv: inclusive boxes [N,4] in, inclusive boxes out."""
    widths, heights = boxes[:, 2] - boxes[:, 0] + 1.0, boxes[:, 3] - boxes[:, 1] + 1.0
    x, y = boxes[:, 0] + 0.5 * widths, boxes[:, 1] + 0.5 * heights
    new_x, new_y = deltas[:, 0] * widths + x, deltas[:, 1] * heights + y
    new_w, new_h = np.exp(deltas[:, 2]) * widths, np.exp(deltas[:, 3]) * heights
    return np.stack([new_x - 0.5 * new_w, new_y - 0.5 * new_h, new_x + 0.5 * new_w, new_y + 0.5 * new_h], 1)


def boxes_and_deltas() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    corner = torch.rand(40, 2, generator=source, dtype=torch.float64) * 100
    sides = torch.rand(40, 2, generator=source, dtype=torch.float64) * 60 + 3
    return torch.cat([corner, corner + sides], 1), 0.3 * torch.randn(40, 4, generator=source, dtype=torch.float64)


@pytest.mark.parametrize("edges", ["inclusive", "exclusive"])
def test_py_faster_rcnns_decoding(edges: str) -> None:
    """With inclusive boxes as it stands; with exclusive ones, 1 px further right and down, before and after."""
    inclusive, deltas = boxes_and_deltas()
    expected = torch.from_numpy(py_faster_rcnn(inclusive.numpy(), deltas.numpy()))
    shift = torch.tensor([0.0, 0, 1, 1], dtype=torch.float64) * (edges == "exclusive")
    coder = CentreSize(weights=(1, 1, 1, 1), clamp=None, legacy_plus_one=edges == "inclusive", legacy_extra_pixel=True)
    torch.testing.assert_close(coder.decode(deltas, inclusive + shift, STRIDES), expected + shift)
    plain = CentreSize(weights=(1, 1, 1, 1), clamp=None, legacy_plus_one=edges == "inclusive")
    wider = coder.decode(deltas, inclusive, STRIDES) - plain.decode(deltas, inclusive, STRIDES)
    torch.testing.assert_close(wider, torch.tensor([0.0, 0, 1, 1], dtype=torch.float64).expand_as(wider))


def py_cpu_nms(boxes: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], limit: float) -> list[int]:
    """py-faster-rcnn's py_cpu_nms: sides are x2 - x1 + 1."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    order, keep = scores.argsort()[::-1], []
    while order.size:
        first = order[0]
        keep.append(int(first))
        rest = order[1:]
        width = np.maximum(0.0, np.minimum(x2[first], x2[rest]) - np.maximum(x1[first], x1[rest]) + 1)
        height = np.maximum(0.0, np.minimum(y2[first], y2[rest]) - np.maximum(y1[first], y1[rest]) + 1)
        shared = width * height
        order = rest[shared / (areas[first] + areas[rest] - shared) <= limit]
    return keep


def test_suppression_of_inclusive_boxes() -> None:
    source = torch.Generator().manual_seed(1)
    corner = (torch.rand(1, 200, 2, generator=source) * 40).round()
    boxes = torch.cat([corner, corner + (torch.rand(1, 200, 2, generator=source) * 12).round()], 2)
    scores = torch.rand(1, 200, generator=source)
    none, every = torch.zeros(1, 200, dtype=torch.int64), torch.ones(1, 200, dtype=torch.bool)
    kept = Nms(iou=0.31, legacy_plus_one=True)(boxes, scores, none, every)[0].nonzero().flatten().tolist()
    assert sorted(kept) == sorted(py_cpu_nms(boxes[0].numpy(), scores[0].numpy(), 0.31))
    assert kept != Nms(iou=0.31)(boxes, scores, none, every)[0].nonzero().flatten().tolist()


def test_nominal_strides_of_grid_anchors() -> None:
    """800 px on 13 cells: detectron2 repeats a P6 of stride 64 every 64 px, not every 61.5."""
    maps = {"p3": torch.zeros(1, 1, 100, 100), "p6": torch.zeros(1, 1, 13, 13)}
    anchors = Grid(sizes=[[32], [256]], ratios=[1.0], steps=[8, 64])
    boxes, levels = anchors(maps, (800, 800))
    assert [level.stride for level in levels] == [8, 64]
    expected = [
        [x * step - size / 2, y * step - size / 2, x * step + size / 2, y * step + size / 2]
        for cells, step, size in ((100, 8, 32), (13, 64, 256))
        for y in range(cells)
        for x in range(cells)
    ]
    torch.testing.assert_close(boxes, torch.tensor(expected))
    middle = Grid(sizes=[[32], [256]], ratios=[1.0], steps=[8, 64], offset=0.5)(maps, (800, 800))[0]
    torch.testing.assert_close(middle[10_000], torch.tensor([32.0 - 128, 32 - 128, 32 + 128, 32 + 128]))  # fizyr
    with pytest.raises(RecipeError, match="sizes are given for 2 levels and steps for 1"):
        Grid(sizes=[[32], [256]], steps=[8])


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize(("quality", "cut", "expected"), [
    ("ignore", True, [1.0, 1.0, 0.4]),
    ("ignore", False, [1.6, 1.2, 0.4]),
    ("product", True, [1.0, 0.5, 0.2]),
    ("product", False, [1.6 * 1.1, 0.6, 0.2]),
    ("geometric_mean", False, [math.sqrt(1.6 * 1.1), math.sqrt(0.6), math.sqrt(0.2)]),
])  # fmt: skip
def test_linear_scores_above_one(
    quality: Any, cut: bool, expected: list[float], looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """darknet's detection layer: probability = class score x confidence, neither of them cut from above."""
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: looks)
    said = Predictions(
        torch.tensor([[[1.6], [1.2], [0.4], [-0.5]]]), "linear", torch.zeros(1, 4, 1, 4),
        torch.tensor([[1.1, 0.5, 0.5, 2.0]]),
    )  # fmt: skip
    places = Candidates(torch.tensor([[[0.0, 0, 9, 9]]]).repeat(1, 4, 1), torch.ones(1, 4, dtype=torch.bool))
    region = torch.tensor([[0.0, 0, 10, 10]])
    batch = ImageBatch(torch.zeros(1, 3, 1, 1), region, torch.full((1, 2), 10), torch.ones(1, 2), torch.arange(1))
    post = PerClassDetections(suppress=KeepAll(), score_threshold=0.0, quality=quality, cut_scores=cut, keep=10)
    found = post(said, places, batch)
    assert found.scores[0][found.valid[0]].tolist() == pytest.approx(expected)
