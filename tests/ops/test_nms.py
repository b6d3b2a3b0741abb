"""Suppression of many groups at once against one group at a time."""

import math

import pytest
import torch
from torchvision.ops import nms

from detzoo.ops import nms as module
from detzoo.ops.nms import nms_keep, soft_nms


def scene(images: int, count: int, groups: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(images, count, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(images, count, 2, generator=generator) * 40], dim=-1)
    scores = torch.rand(images, count, generator=generator)
    return boxes, scores, torch.randint(0, groups, (images, count), generator=generator)


def one_group_at_a_time(boxes: torch.Tensor, scores: torch.Tensor, group: torch.Tensor, iou: float) -> torch.Tensor:
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(boxes.shape[0]):
        for label in range(int(group.max()) + 1):
            rows = (group[image] == label).nonzero().squeeze(1)
            keep[image, rows[nms(boxes[image, rows], scores[image, rows], iou)]] = True
    return keep


def both_ways(boxes: torch.Tensor, group: torch.Tensor, valid: torch.Tensor, iou: float) -> list[torch.Tensor]:
    return [way(boxes, group, valid, iou) for way in (module._keep_pairs, module._keep_static)]


@pytest.mark.parametrize(("images", "count"), [(0, 0), (2, 0), (0, 3)])
def test_nothing_to_suppress(images: int, count: int) -> None:
    empty = torch.zeros(images, count)
    for way in both_ways(torch.zeros(images, count, 4), empty.long(), empty.bool(), 0.5):
        assert way.shape == (images, count)
    assert nms_keep(torch.zeros(images, count, 4), empty, empty.long(), iou=0.5).shape == (images, count)


def test_a_removed_box_removes_nothing() -> None:
    # a chain: each box overlaps its neighbours by 6 / 14 = .43, so at .4 the first removes the second only
    boxes = torch.tensor([[[0.0, 0, 10, 1], [4.0, 0, 14, 1], [8.0, 0, 18, 1]]])
    keep = nms_keep(boxes, torch.tensor([[0.9, 0.8, 0.7]]), torch.zeros(1, 3, dtype=torch.long), iou=0.4)
    assert keep.tolist() == [[True, False, True]]


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.45, 0.55, 1.0])
@pytest.mark.parametrize("groups", [1, 7])
def test_equals_torchvision_one_group_at_a_time(iou: float, groups: int) -> None:
    boxes, scores, group = scene(3, 200, groups)
    expected = one_group_at_a_time(boxes, scores, group, iou)
    assert torch.equal(nms_keep(boxes, scores, group, iou=iou), expected)


@pytest.mark.parametrize("iou", [0.3, 0.6])
def test_the_static_way_equals_the_way_by_pairs(iou: float) -> None:
    boxes, scores, group = scene(2, 300, 3)
    order = scores.argsort(1, descending=True)
    boxes, group = boxes[torch.arange(2)[:, None], order], group.gather(1, order)
    valid = torch.rand(2, 300, generator=torch.Generator().manual_seed(1)) > 0.2
    pairs, static = both_ways(boxes, group, valid, iou)
    assert torch.equal(pairs, static)
    assert not (pairs & ~valid).any()
    assert 0 < int(pairs.sum()) < int(valid.sum())


def test_blocks_join_up(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, group = scene(2, 400, 2, seed=3)
    whole = nms_keep(boxes, scores, group, iou=0.5)
    monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(module, "MAX_PAIRS", 50)
    assert torch.equal(nms_keep(boxes, scores, group, iou=0.5), whole)


def test_no_coordinate_offsets() -> None:
    # far from the origin, float32 still tells an IoU of .5 from one just above it; offsets of label * width do not
    boxes = torch.tensor([[[0.0, 0, 1, 1], [0.0, 0, 1, 0.5], [0.0, 0, 1, 1], [0.0, 0, 1, 0.5000002]]])
    group = torch.tensor([[100_000, 100_000, 100_001, 100_001]])
    keep = nms_keep(boxes, torch.tensor([[0.9, 0.8, 0.9, 0.8]]), group, iou=0.5)
    assert keep.tolist() == [[True, True, True, False]]


def test_invalid_boxes_remove_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0, 9, 9], [0.0, 0, 9, 9]]])
    valid = torch.tensor([[False, True]])
    keep = nms_keep(boxes, torch.tensor([[0.9, 0.1]]), torch.zeros(1, 2, dtype=torch.long), iou=0.5, valid=valid)
    assert keep.tolist() == [[False, True]]


@pytest.mark.parametrize(("method", "factor"), [("gaussian", math.exp(-0.25 / 0.5)), ("linear", 0.5)])
def test_soft_nms_by_hand(method: str, factor: float) -> None:
    # the second covers half of the first: IoU .5; the third is of another group; the fourth is invalid
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0.0, 0, 10, 5], [0.0, 0, 10, 10], [0.0, 0, 10, 10]]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    new = soft_nms(
        boxes,
        scores,
        torch.tensor([[0, 0, 1, 0]]),
        method=method,  # type: ignore[arg-type]
        sigma=0.5,
        iou=0.3,
        min_score=0.001,
        valid=torch.tensor([[True, True, True, False]]),
    )
    torch.testing.assert_close(new, torch.tensor([[0.9, 0.8 * factor, 0.7, 0.0]]))


def plain_soft_nms(boxes: torch.Tensor, scores: torch.Tensor, sigma: float, least: float) -> torch.Tensor:
    """Figure 2 of the paper, one box at a time."""
    scores = scores.clone()
    left = set(range(len(scores)))
    while left:
        top = max(left, key=lambda i: float(scores[i]))
        left.remove(top)
        for i in list(left):
            w = max(0.0, float(min(boxes[top, 2], boxes[i, 2]) - max(boxes[top, 0], boxes[i, 0])))
            h = max(0.0, float(min(boxes[top, 3], boxes[i, 3]) - max(boxes[top, 1], boxes[i, 1])))
            areas = [float((b[2] - b[0]) * (b[3] - b[1])) for b in (boxes[top], boxes[i])]
            scores[i] *= math.exp(-((w * h / (sum(areas) - w * h)) ** 2) / sigma)
            if scores[i] < least:
                scores[i] = 0
                left.remove(i)
    return scores


def test_soft_nms_equals_the_papers_loop() -> None:
    boxes, scores, group = scene(2, 40, 2)
    new = soft_nms(boxes, scores, group, method="gaussian", sigma=0.5, iou=0.3, min_score=0.05)
    for image in range(2):
        for label in range(2):
            rows = group[image] == label
            expected = plain_soft_nms(boxes[image, rows], scores[image, rows], 0.5, 0.05)
            torch.testing.assert_close(new[image, rows], expected)
    assert (new == 0).any()
