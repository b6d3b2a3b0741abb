"""FCOS's targets by hand: points of strides 8 and 16, and who answers for what."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from detzoo.components.anchors import Grid
from detzoo.components.box_coders import Edges
from detzoo.errors import RecipeError
from detzoo.types import BACKGROUND, IGNORE, Candidates, Targets
from detzoo_retinanet.matcher import CentreSampling

B, I = BACKGROUND, IGNORE  # noqa: E741 - as short as the numbers beside them


def points(*levels: tuple[int, int, int]) -> Candidates:
    """Squares of the stride around the corner of each cell, of levels (stride, rows, columns)."""
    features = {f"s{stride}": torch.zeros(1, 1, rows, columns) for stride, rows, columns in levels}
    grid = Grid(sizes=[[float(stride)] for stride, _, _ in levels], ratios=[1.0])
    stride, rows, columns = levels[0]
    boxes, made = grid(features, (stride * rows, stride * columns))
    return Candidates(boxes[None], torch.ones(1, len(boxes), dtype=torch.bool), made, Edges())


def truth(*boxes: list[float], ignore: tuple[int, ...] = ()) -> Targets:
    count = len(boxes)
    flags = torch.tensor([[row in ignore for row in range(count)]], dtype=torch.bool).view(1, count)
    placed = torch.tensor(boxes, dtype=torch.float32).view(1, count, 4)
    valid = torch.ones(1, count, dtype=torch.bool)
    return Targets(placed, torch.zeros(1, count, dtype=torch.int64), flags, valid, torch.tensor([[0.0, 0, 64, 64]]))


def match(candidates: Candidates, targets: Targets, **config: Any) -> list[int]:
    found: list[int] = CentreSampling(**config)(candidates, targets).index[0].tolist()
    return found


LINE = points((8, 1, 6))  # points (0, 0), (8, 0), ... (40, 0)


def test_no_object() -> None:
    assert match(LINE, truth()) == [B] * 6
    empty = Candidates(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool))
    assert match(empty, truth([0, 0, 8, 8])) == []


def test_within_one_and_a_half_strides_of_the_middle() -> None:
    box = [-1.0, -20, 41, 20]  # its middle is (20, 0): points 8 to 32 are less than 12 px off, but for 8 and 32 itself
    assert match(LINE, truth(box)) == [B, B, 0, 0, B, B]
    assert match(LINE, truth(box), radius=1.6) == [B, 0, 0, 0, 0, B]
    assert match(LINE, truth(box), radius=None) == [0, 0, 0, 0, 0, 0]  # the paper's section 3.1: anywhere inside


def test_a_point_on_the_edge_is_outside() -> None:
    assert match(LINE, truth([8, -20, 24, 20]), radius=None) == [B, B, 0, B, B, B]


def test_an_ambiguous_point_goes_to_the_smaller_object() -> None:
    large, small = [-1.0, -20, 41, 20], [15.0, -9, 33, 9]
    assert match(LINE, truth(large, small), radius=None) == [0, 0, 1, 1, 1, 0]
    assert match(LINE, truth(small, large), radius=None) == [1, 1, 0, 0, 0, 1]
    # of two objects of one size the first wins
    assert match(LINE, truth(small, small), radius=None) == [B, B, 0, 0, 0, B]


def test_objects_in_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = truth([-1, -20, 41, 20], [15, -9, 33, 9], [7, -9, 25, 9])
    whole = match(LINE, targets, radius=None)
    assert whole == [0, 2, 1, 1, 1, 0]
    monkeypatch.setattr("detzoo.ops.matching.MAX_PAIRS", 1)
    assert match(LINE, targets, radius=None) == whole


def test_each_level_has_objects_of_its_size() -> None:
    levels = points((8, 1, 8), (16, 1, 4), (32, 1, 2))  # 0 to 64, 64 to 128 and 128 px on
    by_size = {20: 0, 63: 0, 65: 1, 100: 1, 127: 1, 129: 2, 500: 2}
    for half, level in by_size.items():
        found = match(levels, truth([32 - half, -half, 32 + half, half]), radius=0.5)
        # the point (32, 0) is in the middle on every level: place 4 of 8, 2 of 4, 1 of 2
        assert [place for place, index in enumerate(found) if index == 0] == [(4, 8 + 2, 8 + 4 + 1)[level]], half


def test_a_size_between_two_levels_belongs_to_both_or_to_none() -> None:
    levels = points((8, 1, 8), (16, 1, 4))
    box = truth([32 - 64, -64, 32 + 64, 64])  # the longest distance from its middle is just 64 = 8 strides
    assert [place for place, index in enumerate(match(levels, box, radius=0.5)) if index == 0] == [4, 8 + 2]
    assert match(levels, box, radius=0.5, inclusive=False) == [B] * 12  # torchvision
    every = match(levels, truth([32 - 5, -5, 32 + 5, 5]), radius=0.5, scale_range=None)
    assert [place for place, index in enumerate(every) if index == 0] == [4, 8 + 2]


def test_cells_upon_ignored_objects_leave_the_loss() -> None:
    assert match(LINE, truth([7, -20, 41, 20], ignore=(0,)), radius=None) == [B, I, I, I, I, I]
    # an object that is not ignored still has its cells there
    both = truth([7, -20, 41, 20], [15, -9, 33, 9], ignore=(0,))
    assert match(LINE, both, radius=None) == [B, I, 1, 1, 1, I]


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(RecipeError) as error:
        CentreSampling(scale_range=(8.0, 4.0))
    assert str(error.value) == (
        "matcher centre_sampling: scale_range [8.0, 4.0] is empty; write the smaller bound first"
    )
