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
    """By pairs, by rounds, and as under the compiler."""
    ways = [way(boxes, group, valid, iou) for way in (module._keep_pairs, module._keep_static)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        return [*ways, module._keep_static(boxes, group, valid, iou)]


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
def test_the_static_ways_equal_the_way_by_pairs(iou: float) -> None:
    boxes, scores, group = scene(2, 300, 3)
    order = scores.argsort(1, descending=True)
    boxes, group = boxes[torch.arange(2)[:, None], order], group.gather(1, order)
    valid = torch.rand(2, 300, generator=torch.Generator().manual_seed(1)) > 0.2
    pairs, *others = both_ways(boxes, group, valid, iou)
    assert all(torch.equal(pairs, other) for other in others)
    assert not (pairs & ~valid).any()
    assert 0 < int(pairs.sum()) < int(valid.sum())


def test_blocks_join_up(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores, group = scene(2, 400, 2, seed=3)
    whole = nms_keep(boxes, scores, group, iou=0.5)
    monkeypatch.setattr(module, "BLOCK", 16)
    monkeypatch.setattr(module, "MAX_PAIRS", 50)
    assert torch.equal(nms_keep(boxes, scores, group, iou=0.5), whole)


def greedy(boxes: torch.Tensor, iou: float) -> list[bool]:
    """One box at a time, from the definition, for boxes [N,4] best first."""
    one, other = boxes[:, None], boxes[None]
    shared = (torch.minimum(one, other)[..., 2:] - torch.maximum(one, other)[..., :2]).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    over = (shared / (area[:, None] + area - shared) > iou).tolist()
    kept: list[int] = []
    for i, row in enumerate(over):
        if not any(row[j] for j in kept):
            kept.append(i)
    return [i in kept for i in range(len(boxes))]


def layout(kind: str, count: int) -> torch.Tensor:
    """Boxes [count,4] that try the search for neighbours."""
    generator = torch.Generator().manual_seed(5)
    corner, side = torch.rand(2, count, 2, generator=generator).unbind(0)
    if kind == "one place":
        corner, side = corner * 0.5, 10 + side
    elif kind == "integers":  # IoU of exactly the threshold, equal left edges
        corner, side = (corner * 6).floor(), 1 + (side * 6).floor()
    elif kind == "far away":
        corner, side = corner * 30 + 1e6, 5 + side * 20
    elif kind == "tiny":
        corner, side = corner * 3e-6, side * 2e-6
    elif kind == "all sizes":
        corner, side = corner * 50, 10 ** (side * 4 - 1)
    elif kind == "odd":  # without area, inside out
        corner, side = corner * 20, side * 15 - 4
    boxes = torch.cat([corner, corner + side], dim=1)
    if kind == "odd":
        boxes[::7, 0] = -math.inf
        boxes[3::11, 2] = math.inf
        boxes[5::13, 1] = math.nan
        boxes[6::13, 0] = math.nan
    return boxes


@pytest.mark.parametrize("kind", ["one place", "integers", "far away", "tiny", "all sizes", "odd"])
@pytest.mark.parametrize("iou", [0.0, 0.05, 0.5, 0.7, 1.0])
def test_equals_the_definition(kind: str, iou: float, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = torch.stack([layout(kind, 60), layout(kind, 60).flip(0)])
    scores = torch.linspace(1, 0, 60).repeat(2, 1)
    expected = [greedy(image, iou) for image in boxes]
    for block in (1024, 16):
        monkeypatch.setattr(module, "BLOCK", block)
        for way in both_ways(boxes, torch.zeros(2, 60).long(), torch.ones(2, 60).bool(), iou):
            assert way.tolist() == expected
        assert nms_keep(boxes, scores, torch.zeros(2, 60).long(), iou=iou).tolist() == expected


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("kind", ["one box", "one column", "close together"])
def test_crowded_groups_are_decided_as_pairs_are(kind: str, damaged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an untrained detector's; every box of a column has the same left edge, and overlaps few."""
    count = 1_300  # more than a block
    generator = torch.Generator().manual_seed(0)
    corner = 20 * torch.rand(2, count, 2, generator=generator)
    if kind == "one box":
        corner[:] = 3
    if kind == "one column":
        corner[..., 0], corner[..., 1] = 3, 60 * corner[..., 1]
    boxes = torch.cat([corner, corner + 10], dim=2)
    if damaged:
        boxes[0, -1, 2], boxes[1, 7, 0] = float("inf"), float("nan")
    group = torch.arange(count).remainder(2).expand(2, -1)
    valid = torch.rand(2, count, generator=generator) < 0.95
    falling = torch.linspace(1, 0, count).expand(2, -1)
    found = nms_keep(boxes, falling, group, iou=0.5, valid=valid)
    monkeypatch.setattr(module, "CROWDED", math.inf)
    assert torch.equal(found, nms_keep(boxes, falling, group, iou=0.5, valid=valid))
    assert 0 < int(found.sum()) < int(valid.sum())


def test_of_equal_scores_the_earlier_goes_first() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0.0, 0, 10, 9], [50.0, 0, 60, 9], [50.0, 0, 60, 10]]])
    for scores in ([0.5, 0.5, 0.5, 0.5], [0.4, 0.4, 0.6, 0.6]):
        keep = nms_keep(boxes, torch.tensor([scores]), torch.zeros(1, 4).long(), iou=0.5)
        assert keep.tolist() == [[True, False, True, False]]
        assert nms(boxes[0], torch.tensor(scores), 0.5).sort().values.tolist() == [0, 2]


@pytest.mark.parametrize("side", [20.0, 800.0])
def test_one_large_group(side: float) -> None:
    # as an RPN hands over: more boxes than a block holds, crowded and spread
    boxes, scores, group = scene(1, 3000, 1)
    boxes = torch.cat([boxes[..., :2] * side / 60, boxes[..., :2] * side / 60 + boxes[..., 2:] - boxes[..., :2]], -1)
    expected = one_group_at_a_time(boxes, scores, group, 0.7)
    assert 0 < int(expected.sum()) < 3000
    assert torch.equal(nms_keep(boxes, scores, group, iou=0.7), expected)


def test_a_long_chain_of_removals() -> None:
    # each box overlaps the next by 9 / 11: of a chain every second stays, which takes as many rounds as there are boxes
    left = torch.arange(100.0)
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 1], dim=1).unsqueeze(0)
    for way in both_ways(boxes, torch.zeros(1, 100).long(), torch.ones(1, 100).bool(), 0.7):
        assert way.tolist() == [[i % 2 == 0 for i in range(100)]]
    over = torch.ones(99).diag(1).bool().unsqueeze(0)
    assert module._box_by_box(over, torch.ones(1, 100).bool()).tolist() == [[i % 2 == 0 for i in range(100)]]


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
