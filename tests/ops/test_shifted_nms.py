"""Few boxes through torchvision's kernel at once, against one group at a time; and where there must be no answer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detzoo.ops.nms import float32_at_most, nms_keep
from detzoo.ops.shifted_nms import MOST, keep_shifted
from tests.ops.test_nms import one_group_at_a_time, scene


def best_first(images: int, count: int, groups: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    boxes, scores, group = scene(images, count, groups, seed)
    order = scores.argsort(1, descending=True)
    return boxes[torch.arange(images)[:, None], order], scores.gather(1, order), group.gather(1, order)


@pytest.mark.parametrize("iou", [0.01, 0.45, 0.7])
@pytest.mark.parametrize("groups", [1, 2, 90])
def test_equals_one_group_at_a_time(groups: int, iou: float) -> None:
    answers = 0
    for seed in range(20):
        boxes, scores, group = best_first(2, 60, groups, seed)
        expected = one_group_at_a_time(boxes, scores, group, iou)
        found = keep_shifted(boxes, group, torch.ones_like(group, dtype=torch.bool), float32_at_most(iou))
        assert torch.equal(nms_keep(boxes, scores, group, iou=iou), expected)
        if found is not None:
            answers += 1
            assert torch.equal(found, expected)
    assert answers >= 18  # of 20


def test_invalid_boxes_are_not_kept_and_remove_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 8.9], [20, 0, 29, 9]]])
    group = torch.tensor([[3, 3, 3, 4]])
    found = keep_shifted(boxes, group, torch.tensor([[False, True, True, True]]), 0.5)
    assert found is not None
    assert found.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize("iou", [0.5, 0.3333333, 1.0])
def test_an_iou_of_about_the_threshold_is_left_to_the_exact_way(iou: float) -> None:
    # the boxes of group 0 overlap by exactly the threshold
    width = torch.tensor([4.0, 4 * iou])
    boxes = torch.stack([width * 0, width * 0, width, width * 0 + 3], dim=1)
    boxes, group = torch.cat([boxes, boxes + 50])[None], torch.tensor([[0, 0, 1, 2]])
    assert keep_shifted(boxes, group, torch.ones(1, 4, dtype=torch.bool), float32_at_most(iou)) is None
    falling = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    expected = one_group_at_a_time(boxes, falling, group, iou)
    assert torch.equal(nms_keep(boxes, falling, group, iou=iou), expected)


@pytest.mark.parametrize("what", ["not finite", "far away", "thin", "many", "any overlap", "float64"])
def test_no_answer_where_nothing_is_proved(what: str) -> None:
    boxes, _, group = best_first(1, MOST + 1 if what == "many" else 9, 2, 0)
    if what == "not finite":
        boxes[0, 3, 2] = math.nan
    elif what == "far away":
        boxes += 5e6
        boxes[0, 0] = 0
    elif what == "thin":
        boxes[0, 4, 2] = boxes[0, 4, 0] + 1e-3
    elif what == "float64":
        boxes = boxes.double()
    iou = 0.0 if what == "any overlap" else 0.5
    assert keep_shifted(boxes, group, torch.ones_like(group, dtype=torch.bool), iou) is None


def test_boxes_without_area_are_kept_and_remove_nothing() -> None:
    boxes = torch.tensor([[[5.0, 5, 5, 9], [0, 0, 9, 9], [5, 5, 5, 9], [5, 5, 5, 5]]])
    found = keep_shifted(boxes, torch.tensor([[0, 0, 0, 1]]), torch.ones(1, 4, dtype=torch.bool), 0.5)
    assert found is not None
    assert found.all()


@pytest.mark.parametrize("spread", [False, True])
def test_a_larger_crowd_of_one_group(spread: bool) -> None:
    boxes, scores, group = best_first(2, MOST + 200, 1, 1)
    if spread:
        boxes = boxes + torch.arange(MOST + 200)[:, None] * 100
    found = keep_shifted(boxes, group, torch.ones_like(group, dtype=torch.bool), 0.05)
    assert (found is None) == spread  # the kernel compares every box with every kept one
    assert torch.equal(nms_keep(boxes, scores, group, iou=0.05), one_group_at_a_time(boxes, scores, group, 0.05))
