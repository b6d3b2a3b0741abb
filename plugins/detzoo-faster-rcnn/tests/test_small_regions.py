"""Small regions leave as py-faster-rcnn's proposal layer drops them: by the original image's px, before the best."""

import torch

from detzoo.components.box_coders import CentreSize
from detzoo.components.suppress import Nms
from detzoo.types import Candidates, ImageBatch, Level, Predictions
from detzoo_faster_rcnn.postprocess import Regions


def images(*scales: float) -> ImageBatch:
    count = len(scales)
    region = torch.tensor([[0.0, 0, 400, 400]]).expand(count, 4)
    scale = torch.tensor([[s, s / 2] for s in scales])  # twice as much vertically
    index = torch.arange(count)
    return ImageBatch(torch.zeros(count, 3, 8, 8), region, torch.full((count, 2), 400), scale, index)


def scene(*boxes: list[float], images: int = 2) -> tuple[Predictions, Candidates]:
    """Anchors at these places, the best first, all with zero deltas."""
    places = torch.tensor([boxes], dtype=torch.float32)
    count = len(boxes)
    logits = torch.arange(count, 0, -1).float().view(1, count, 1).expand(images, -1, -1)
    candidates = Candidates(
        places, torch.ones(1, count, dtype=torch.bool), (Level("s16", 1, count, 1, 16.0),), CentreSize()
    )
    return Predictions(logits, "sigmoid", torch.zeros(images, count, 1, 4)), candidates


SMALL: list[list[float]] = [
    [0.0, 0, 40, 31],
    [100, 0, 115, 50],
    [200, 0, 216, 32],
    [300, 0, 400, 100],
]  # 40x31, 15x50, 16x32, 100x100


def kept(regions: Regions, batch: ImageBatch) -> list[list[float]]:
    found = regions(*scene(*SMALL), batch)
    return [sorted(boxes[valid][:, 0].tolist()) for boxes, valid in zip(found.boxes, found.valid, strict=True)]


def test_min_side_counts_px_of_the_network_or_of_the_original_image() -> None:
    nms = Nms(iou=0.7)
    # network px: nothing below 16 on either side
    assert kept(Regions(suppress=nms, min_side=16), images(2.0, 4.0)) == [[0, 200, 300]] * 2
    # original px, scaled by 2 vertically and 1 horizontally: at least 32 high and 16 wide; then by 4 and 2: 64 and 32
    original = Regions(suppress=nms, min_side=16, min_side_of="original")
    assert kept(original, images(2.0, 4.0)) == [[200, 300], [300]]


def test_small_regions_leave_before_the_best_are_taken_or_after() -> None:
    nms = Nms(iou=0.7)
    fields = {"suppress": nms, "min_side": 20, "per_level_top_k": 2}
    # the best two are 40x31 and 15x50: torchvision takes them and loses the second, py-faster-rcnn fills up
    assert kept(Regions(**fields), images(1.0, 1.0)) == [[0]] * 2  # type: ignore[arg-type]
    assert kept(Regions(**fields, small_first=True), images(1.0, 1.0)) == [[0, 300]] * 2  # type: ignore[arg-type]


def test_nothing_is_large_enough() -> None:
    for first in (True, False):
        found = Regions(suppress=Nms(iou=0.7), min_side=500, small_first=first)(*scene(*SMALL), images(1.0, 1.0))
        assert not found.valid.any()
