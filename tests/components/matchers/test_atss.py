"""ATSS against plain loops in float64, and by hand where candidates tie, are few, or are all ignored."""

from __future__ import annotations

import dataclasses
import statistics

import pytest
import torch

from detzoo.components.matchers.atss import Atss, unusual
from detzoo.types import BACKGROUND, IGNORE, Candidates, Targets
from tests.components.matchers.scenes import grid, plain_covered, plain_inside, plain_iou, random_truth, truth

B, OUT = BACKGROUND, IGNORE
PYRAMID = ((8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2))  # of 128 x 128 px


def plain_atss(candidates: Candidates, targets: Targets, image: int, k: int = 9) -> list[int]:
    """The paper's algorithm 1, one ground truth and one candidate at a time."""
    places = candidates.boxes[0].double().tolist()
    valid = candidates.valid[0].tolist()
    boxes = targets.boxes[image].double().tolist()
    best = [-1.0] * len(places)
    found = [B if ok else OUT for ok in valid]
    for row, box in enumerate(boxes):
        if not bool(targets.usable[image, row]):
            continue
        nearest: list[int] = []
        begin = 0
        for level in candidates.levels:
            own = [n for n in range(begin, begin + level.count) if valid[n]]
            own.sort(
                key=lambda n: (
                    (places[n][0] + places[n][2] - box[0] - box[2]) ** 2
                    + (places[n][1] + places[n][3] - box[1] - box[3]) ** 2,
                    n,
                )
            )
            nearest += own[: k * level.per_cell]
            begin += level.count
        overlaps = [plain_iou(places[n], box) for n in nearest]
        spread = statistics.stdev(overlaps) if len(overlaps) > 1 else 0.0
        for n, overlap in zip(nearest, overlaps, strict=True):
            if overlap >= statistics.mean(overlaps) + spread and plain_inside(places[n], box) and overlap > best[n]:
                best[n], found[n] = overlap, row
    for row, box in enumerate(boxes):
        if bool(targets.ignore[image, row]):
            for n, place in enumerate(places):
                if found[n] == B and plain_covered(place, box) >= 0.5:
                    found[n] = OUT
    return found


def test_no_ground_truth_is_all_background() -> None:
    places = grid((8, 2, 2))
    for targets in (truth([]), truth([], padded=3)):
        assert Atss()(places, targets).index.tolist() == [[B] * 4]
    nowhere = Candidates(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool))
    assert Atss()(nowhere, truth([[0.0, 0.0, 8.0, 8.0]])).index.shape == (1, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratios", [(1.0,), (0.5, 2.0)])
def test_equals_the_plain_loops(seed: int, ratios: tuple[float, ...]) -> None:
    places = grid(*PYRAMID, ratios=ratios)
    targets = random_truth(seed, (7, 0, 1, 25))
    found = Atss()(places, targets).index
    for image in range(4):
        assert found[image].tolist() == plain_atss(places, targets, image)
    assert int((found >= 0).sum()) > 60


def test_a_thousand_boxes_in_chunks_equal_the_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    places, targets = grid((16, 8, 8), (32, 4, 4)), random_truth(9, (1000,), most=30.0)
    whole = Atss()(places, targets).index
    assert whole[0].tolist() == plain_atss(places, targets, 0)
    monkeypatch.setattr("detzoo.ops.matching.MAX_PAIRS", 5000)
    assert torch.equal(Atss()(places, targets).index, whole)


def test_invalid_candidates_take_no_part_in_the_statistics() -> None:
    places, targets = grid(*PYRAMID), random_truth(3, (12,))
    valid = torch.rand(places.valid.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    places = dataclasses.replace(places, valid=valid)
    found = Atss()(places, targets).index[0]
    assert found.tolist() == plain_atss(places, targets, 0)
    nobody = dataclasses.replace(places, valid=torch.zeros_like(valid))
    assert bool((Atss()(nobody, targets).index == OUT).all())


def test_threshold_by_hand() -> None:
    # squares of 16 px around (8, 8), (24, 8), (40, 8); a box of 16 x 16 px around (20, 8) overlaps them by
    # 4/28, 12/20 and 0: mean .2476, deviation .3136, so only IoU .6 reaches .5612
    places = grid((16, 1, 3), side=1.0)
    assert Atss()(places, truth([[12.0, 0.0, 28.0, 16.0]])).index.tolist() == [[B, 0, B]]
    # of the two nearest alone: mean .3714, deviation .3232: .6 does not reach .6946
    assert Atss(nearest=2)(places, truth([[12.0, 0.0, 28.0, 16.0]])).index.tolist() == [[B, B, B]]


def test_equal_overlaps_all_reach_their_mean() -> None:
    # a box on a corner of four cells: all four are equally near and overlap it equally
    places = grid((16, 2, 2), side=1.0)
    assert Atss()(places, truth([[7.0, 7.0, 25.0, 25.0]])).index.tolist() == [[0, 0, 0, 0]]
    # a single candidate has no deviation
    assert Atss()(grid((16, 1, 1)), truth([[6.0, 6.0, 12.0, 12.0]])).index.tolist() == [[0]]


def test_of_equal_distances_the_first_candidate_is_looked_at() -> None:
    places = grid((16, 2, 2), side=1.0)
    assert Atss(nearest=1)(places, truth([[7.0, 7.0, 25.0, 25.0]])).index.tolist() == [[0, B, B, B]]


def test_an_ambiguous_candidate_goes_to_the_higher_overlap_then_to_the_first() -> None:
    places = grid((16, 1, 1), side=1.0)  # one square of 16 px
    small, large = [4.0, 4.0, 12.0, 12.0], [0.0, 0.0, 16.0, 16.0]
    assert Atss()(places, truth([small, large])).index.tolist() == [[1]]
    assert Atss()(places, truth([large, small])).index.tolist() == [[0]]
    assert Atss()(places, truth([small, small])).index.tolist() == [[0]]


def test_a_box_of_one_pixel_needs_a_centre_inside() -> None:
    places = grid((8, 4, 4), (16, 2, 2))
    on_centre, between = [3.5, 3.5, 4.5, 4.5], [7.5, 7.5, 8.5, 8.5]
    found = Atss()(places, truth([on_centre, between])).index[0].tolist()
    assert found[0] == 0
    # the second holds the centre (8, 8) of the coarser level, whose candidate overlaps it less than the finer ones
    assert 1 not in found


def test_candidates_upon_ignored_ground_truth_leave_the_loss() -> None:
    places = grid((16, 1, 3), side=1.0)
    targets = truth([[0.0, 0.0, 48.0, 16.0]])
    targets = dataclasses.replace(targets, ignore=torch.ones(1, 1, dtype=torch.bool))
    assert Atss()(places, targets).index.tolist() == [[OUT, OUT, OUT]]


def test_unusual_by_hand() -> None:
    values = torch.tensor([[0.1, 0.2, 0.9], [0.5, 0.5, 0.5], [0.3, 0.9, 0.9]])
    counted = torch.tensor([[True, True, True], [True, True, True], [True, False, False]])
    # means .4 and .5, deviations .4359 and 0; alone, .3 reaches itself
    assert unusual(values, counted).tolist() == [[False, False, True], [True, True, True], [True, False, False]]


def test_it_compiles_without_a_graph_break() -> None:
    places, targets = grid(*PYRAMID), random_truth(1, (5, 2))
    matcher = Atss()
    compiled = torch.compile(matcher, backend="eager", fullgraph=True)
    assert torch.equal(compiled(places, targets).index, matcher(places, targets).index)
