"""Regions: ground truth appended, the unused left out, padding cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detzoo.ops import regions
from detzoo.ops.regions import append_ground_truth, compact, first_positives, trim, trim_detections
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, DetectionBatch, Targets

N = IGNORE
B = BACKGROUND


@pytest.fixture(params=["shapes from the data", "static shapes"])
def looking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways: the CPU's, and the one that waits for nothing."""
    looks: bool = request.param == "shapes from the data"
    monkeypatch.setattr(regions, "allows_dynamic_shapes", lambda tensor: looks)
    return looks


def numbered(images: int, count: int) -> Tensor:
    """Boxes [images,count,4]; box j of image i begins at x = 100 i + j, so that it can be told where it went."""
    x = 100.0 * torch.arange(images)[:, None] + torch.arange(count)
    return torch.stack([x, torch.zeros_like(x), x + 10, torch.full_like(x, 10)], dim=-1)


def rois(images: int, count: int, valid: list[list[bool]] | None = None) -> Candidates:
    flags = torch.ones(images, count, dtype=torch.bool) if valid is None else torch.tensor(valid)
    return Candidates(numbered(images, count), flags)


def truth(boxes: Tensor, valid: list[list[bool]], ignore: list[list[bool]]) -> Targets:
    flags = torch.tensor(valid, dtype=torch.bool).view(boxes.shape[:2])
    ignored = torch.tensor(ignore, dtype=torch.bool).view(boxes.shape[:2])
    return Targets(boxes, torch.zeros(boxes.shape[:2], dtype=torch.long), ignored, flags, torch.zeros(len(boxes), 4))


def test_nothing_at_all_stays_nothing(looking: bool) -> None:
    none = rois(2, 0)
    empty = Assignment(torch.zeros(2, 0, dtype=torch.long))

    kept, assignment = compact(none, empty, 8)
    assert kept.boxes.shape == (2, 0, 4)
    assert assignment.index.shape == (2, 0)
    assert first_positives(none, empty, 4)[0].boxes.shape == (2, 0, 4)
    assert trim(none).boxes.shape == (2, 0, 4)
    assert append_ground_truth(none, truth(torch.zeros(2, 0, 4), [[], []], [[], []])).boxes.shape == (2, 0, 4)


def test_ground_truth_is_appended_but_padding_and_ignored_boxes_are_not_valid() -> None:
    boxes = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 0]]])

    both = append_ground_truth(rois(1, 2, [[True, False]]), truth(boxes, [[True, True, False]], [[False, True, False]]))

    assert both.boxes[0, 2:].tolist() == boxes[0].tolist()
    assert both.valid.tolist() == [[True, False, True, False, False]]


def test_positives_come_first_in_their_order_and_the_ignored_leave(looking: bool) -> None:
    assignment = Assignment(torch.tensor([[N, B, 1, B, 0], [B, N, N, N, N]]), torch.arange(10.0).view(2, 5))

    kept, chosen = compact(rois(2, 5), assignment, 4)

    wide = 4  # at most four of the first image take part: looking or not, the result is the same here
    assert kept.boxes.shape == (2, wide, 4)
    assert kept.boxes[0, :, 0].tolist() == [2.0, 4.0, 1.0, 3.0]
    assert kept.boxes[1, 0, 0] == 100.0
    assert chosen.index.tolist()[0] == [1, 0, B, B]
    assert chosen.index[1].tolist() == [B, N, N, N]
    assert chosen.overlap is not None
    assert chosen.overlap[0].tolist() == [2.0, 4.0, 1.0, 3.0]
    assert kept.valid.tolist() == [[True] * 4, [True, False, False, False]]


def test_without_a_size_every_region_in_the_loss_stays(looking: bool) -> None:
    assignment = Assignment(torch.tensor([[B, 0, N]]))

    kept, chosen = compact(rois(1, 3), assignment, None)

    assert kept.boxes.shape[1] == (2 if looking else 3)
    assert chosen.index[0, :2].tolist() == [0, B]
    assert kept.valid[0, :2].tolist() == [True, True]


def test_the_positives_alone(looking: bool) -> None:
    assignment = Assignment(torch.tensor([[3, 1, B, B], [B, B, N, N]]))

    kept, chosen = first_positives(rois(2, 4), assignment, 3)

    assert kept.boxes.shape[1] == (2 if looking else 3)
    assert chosen.index[:, :2].tolist() == [[3, 1], [N, N]]
    assert kept.valid[:, :2].tolist() == [[True, True], [False, False]]
    assert not kept.valid[:, 2:].any()


def test_padding_is_cut_behind_the_last_valid_region_of_any_image(looking: bool) -> None:
    flags = [[True, False, False, False], [True, False, True, False]]
    scores = torch.arange(8.0).view(2, 4)
    given = Candidates(numbered(2, 4), torch.tensor(flags), scores=scores, labels=scores.long())

    cut = trim(given)
    found = trim_detections(DetectionBatch(given.boxes, scores, scores.long(), given.valid))

    wide = 3 if looking else 4
    assert cut.boxes.tolist() == given.boxes[:, :wide].tolist() == found.boxes.tolist()
    assert cut.scores is not None
    assert cut.labels is not None
    assert cut.scores.tolist() == scores[:, :wide].tolist() == found.scores.tolist()
    assert cut.labels.tolist() == found.labels.tolist() == scores[:, :wide].long().tolist()
    assert cut.valid.tolist() == given.valid[:, :wide].tolist() == found.valid.tolist()
