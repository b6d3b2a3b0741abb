"""Hungarian matching: the empty case, brute force, costs by hand, what is ignored."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from detzoo.components.box_coders import CentreSize
from detzoo.errors import RecipeError
from detzoo.types import BACKGROUND, IGNORE, Candidates, Predictions, Scoring, Targets
from detzoo_detr.box_coder import Fractions
from detzoo_detr.matcher import Hungarian, solve

B = BACKGROUND
IMAGE = torch.tensor([0.0, 0, 100, 50])


def candidates(count: int, valid: list[bool] | None = None) -> Candidates:
    flags = torch.ones(1, count, dtype=torch.bool) if valid is None else torch.tensor([valid])
    return Candidates(IMAGE.expand(1, count, 4), flags, coder=Fractions())


def targets(boxes: list[list[float]], labels: list[int], *, ignore: list[bool] | None = None) -> Targets:
    """One image; two rows of padding follow."""
    count = len(boxes)
    rows = torch.cat([torch.tensor(boxes).reshape(-1, 4), torch.zeros(2, 4)])[None]
    valid = torch.arange(count + 2)[None] < count
    flagged = torch.tensor([(ignore or [False] * count) + [False, False]])
    return Targets(rows, torch.tensor([[*labels, 0, 0]]), flagged, valid, IMAGE[None])


def said(logits: list[list[float]], deltas: list[list[float]], scoring: Scoring = "sigmoid") -> Predictions:
    return Predictions(torch.tensor([logits]), scoring, torch.tensor([deltas])[:, :, None])


MIDDLE, LEFT = [0.5, 0.5, 0.2, 0.4], [0.1, 0.5, 0.2, 0.4]  # boxes (40, 15, 60, 35) and (0, 15, 20, 35)
AT_MIDDLE, AT_LEFT = [40.0, 15, 60, 35], [0.0, 15, 20, 35]


def test_without_ground_truth_all_is_background() -> None:
    found = Hungarian()(candidates(2), targets([], []), said([[0.0], [0.0]], [MIDDLE, LEFT]))
    assert found.index.tolist() == [[B, B]]


def test_without_candidates_nothing_is_assigned() -> None:
    empty = Predictions(torch.zeros(1, 0, 1), "sigmoid", torch.zeros(1, 0, 1, 4))
    assert Hungarian()(candidates(0), targets([AT_LEFT], [0]), empty).index.shape == (1, 0)


def test_each_object_gets_the_query_upon_it() -> None:
    found = Hungarian()(
        candidates(3), targets([AT_LEFT, AT_MIDDLE], [0, 0]), said([[0.0]] * 3, [MIDDLE, [0.9, 0.5, 0.1, 0.1], LEFT])
    )
    assert found.index.tolist() == [[1, B, 0]]


def test_the_whole_image_costs_least_not_each_object_by_itself() -> None:
    """Object 0 is nearest to query 0 (2 against 3), yet takes query 1: 3 + 2 is less than 2 + 9."""
    cost = torch.tensor([[[2.0, 2.0], [3.0, 9.0]]])
    flags = torch.ones(1, 2, dtype=torch.bool)
    assert solve(cost, flags, flags).tolist() == [[1, 0]]


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (3, 5), (4, 4)])
def test_no_other_assignment_costs_less(rows: int, columns: int) -> None:
    """All of them are tried."""
    cost = torch.rand(8, rows, columns, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    index = solve(cost, torch.ones(8, rows, dtype=torch.bool), torch.ones(8, columns, dtype=torch.bool))
    few, many = sorted((rows, columns))
    for matrix, found in zip(cost, index, strict=True):
        chosen = found >= 0
        assert int(chosen.sum()) == len(set(found[chosen].tolist())) == few
        wide = matrix if rows <= columns else matrix.T
        ways = itertools.permutations(range(many), few)
        least = min(sum(float(wide[row, column]) for row, column in enumerate(way)) for way in ways)
        assert float(matrix[chosen.nonzero().squeeze(1), found[chosen]].sum()) == pytest.approx(least)


def test_the_cost_by_hand() -> None:
    """One query upon (40, 15, 60, 35), one object 10 px further right: a distance of 0.1, an IoU of 1/3."""
    predictions = said([[0.0, math.log(3)]], [MIDDLE])  # sigmoids 0.5 and 0.75
    truth = targets([[50.0, 15, 70, 35]], [1])
    matcher = Hungarian(class_weight=1.0, distance_weight=5.0, overlap_weight=2.0)
    boxes = torch.tensor([[[40.0, 15, 60, 35]]])
    cost = matcher.cost(predictions, boxes, candidates(1), truth)
    # the hull is the union, so GIoU is IoU: 10 x 20 of 30 x 20 px
    assert cost[0, 0, 0].item() == pytest.approx(-0.75 + 5 * 0.1 - 2 / 3, abs=1e-5)


def test_the_focal_cost_by_hand() -> None:
    predictions = said([[math.log(3)]], [MIDDLE])
    cost = Hungarian(focal=True).class_costs(predictions)
    positive, negative = 0.25 * 0.25**2 * -math.log(0.75), 0.75 * 0.75**2 * -math.log(0.25)
    assert cost.item() == pytest.approx(positive - negative, rel=1e-5)


def test_softmax_leaves_the_background_s_column_out() -> None:
    predictions = said([[0.0, math.log(2), 0.0]], [MIDDLE], "softmax")
    assert Hungarian().class_costs(predictions)[0, 0].tolist() == pytest.approx([-0.5, -0.25])


def test_more_objects_than_queries_leave_the_dearest_out() -> None:
    found = Hungarian()(candidates(1), targets([AT_LEFT, AT_MIDDLE], [0, 0]), said([[0.0]], [MIDDLE]))
    assert found.index.tolist() == [[1]]


def test_invalid_candidates_are_ignored_though_they_fit_best() -> None:
    found = Hungarian()(candidates(2, [False, True]), targets([AT_MIDDLE], [0]), said([[5.0], [-5.0]], [MIDDLE, LEFT]))
    assert found.index.tolist() == [[IGNORE, 0]]


def test_a_prediction_upon_a_crowd_leaves_the_loss() -> None:
    crowd = targets([[30.0, 0, 70, 50]], [0], ignore=[True])
    found = Hungarian()(candidates(2), crowd, said([[0.0]] * 2, [MIDDLE, LEFT]))
    assert found.index.tolist() == [[IGNORE, B]]


def test_a_box_without_area_is_never_matched() -> None:
    coded = Candidates(IMAGE.expand(1, 1, 4), torch.ones(1, 1, dtype=torch.bool), coder=CentreSize())
    found = Hungarian()(coded, targets([[40.0, 15, 40, 35]], [0]), said([[0.0]], [[0.0] * 4]))
    assert found.index.tolist() == [[B]]


def test_nan_is_left_to_the_loss() -> None:
    found = Hungarian()(candidates(2), targets([AT_LEFT], [0]), said([[math.nan], [0.0]], [[math.nan] * 4, LEFT]))
    assert found.index.tolist() == [[B, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"class_weight": 0.0, "distance_weight": 0.0, "overlap_weight": 0.0},
            "matcher hungarian: all three weights are 0, so every assignment costs the same; set one",
        ),
    ],
)
def test_weights_that_decide_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        Hungarian(**changes)
    assert str(error.value) == message


def test_without_predictions_it_says_where_it_belongs() -> None:
    with pytest.raises(RecipeError) as error:
        Hungarian()(candidates(1), targets([AT_LEFT], [0]), None)
    assert str(error.value) == (
        "matcher hungarian: it looks at predicted classes and boxes, and is given none here; it belongs under "
        "architecture: one_stage, beside a head with a box coder"
    )


def test_a_focal_cost_of_a_softmax_is_refused() -> None:
    with pytest.raises(RecipeError) as error:
        Hungarian(focal=True)(candidates(1), targets([AT_LEFT], [0]), said([[0.0, 0.0]], [LEFT], "softmax"))
    assert str(error.value) == (
        'matcher hungarian: focal: true needs a head that scores by "sigmoid", this one scores by "softmax"; '
        "set head.scoring: sigmoid, or matcher.focal: false"
    )
