"""The matching with soft labels against the release's algorithm written as plain loops in float64, and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.components.box_coders import Edges
from detzoo.errors import RecipeError
from detzoo.ops.boxes import iou_matrix
from detzoo.ops.grid import grid_candidates
from detzoo.testing import targets
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_rtmdet.matcher import DynamicSoftLabel

SIZE = (64, 96)
STRIDES = {"s8": 8.0, "s16": 16.0}


def points(size: tuple[int, int] = SIZE) -> Candidates:
    """The top left corners of cells of 8 and 16 px."""
    maps = {name: torch.zeros(1, 1, size[0] // int(stride), size[1] // int(stride)) for name, stride in STRIDES.items()}
    return grid_candidates(maps, STRIDES, (1.0,), coder=Edges(), offset=0.0)


def said(places: Candidates, batch: int, classes: int, seed: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(batch, places.boxes.shape[1], classes + 4, generator=generator)
    return Predictions(draw[..., 4:], "sigmoid", draw[..., None, :4] + 1.5)  # as large as the objects; some negative


def by_loops(
    places: Candidates, truth: Targets, predictions: Predictions, *, radius: float = 3.0, top_k: int = 13
) -> tuple[list[int], list[float]]:
    """Of the first image: ``DynamicSoftLabelAssigner.assign``, a pair at a time."""
    assert predictions.class_logits is not None
    count, strides = places.boxes.shape[1], places.strides().tolist()
    boxes = [box for box, ok in zip(truth.boxes[0].tolist(), truth.usable[0].tolist(), strict=True) if ok]
    labels = [label for label, ok in zip(truth.labels[0].tolist(), truth.usable[0].tolist(), strict=True) if ok]
    corners = [(x1 + s / 2, y1 + s / 2) for (x1, y1, _, _), s in zip(places.boxes[0].tolist(), strides, strict=True)]
    found = []
    for (x, y), s, (left, top, right, bottom) in zip(
        corners, strides, predictions.deltas[0, :, 0].double().tolist(), strict=True
    ):
        found.append([x - s * left, y - s * top, x + s * right, y + s * bottom])
    overlaps = iou_matrix(torch.tensor(boxes).double().view(-1, 4), torch.tensor(found).double()).tolist()
    allowed = [n for n, (x, y) in enumerate(corners) if any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes)]
    costs = []
    for box, label, ious in zip(boxes, labels, overlaps, strict=True):
        row = []
        for n in allowed:
            wrong = 0.0
            for k, logit in enumerate(predictions.class_logits[0, n].double().tolist()):
                score, wanted = 1 / (1 + math.exp(-logit)), ious[n] if k == label else 0.0
                entropy = -wanted * math.log(score) - (1 - wanted) * math.log(1 - score)
                wrong += abs(wanted - score) ** 2 * entropy
            (x, y), middle = corners[n], ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            far = math.hypot(x - middle[0], y - middle[1]) / strides[n]
            row.append(wrong - 3 * math.log(ious[n] + 1e-7) + 10 ** (far - radius))
        costs.append(row)
    chosen: dict[int, list[int]] = {}
    for m, row in enumerate(costs):
        k = max(1, int(sum(sorted((overlaps[m][n] for n in allowed), reverse=True)[:top_k])))
        for place in sorted(range(len(allowed)), key=row.__getitem__)[:k]:
            chosen.setdefault(place, []).append(m)
    index, quality = [BACKGROUND] * count, [0.0] * count
    for place, owners in chosen.items():
        owner = owners[0] if len(owners) == 1 else min(range(len(boxes)), key=lambda m, p=place: costs[m][p])  # type: ignore[misc]
        index[allowed[place]], quality[allowed[place]] = owner, overlaps[owner][allowed[place]]
    return index, quality


CROWDED = [(4.0, 4.0, 40.0, 40.0), (9.0, 6.0, 44.0, 38.0), (50.0, 10.0, 90.0, 60.0), (61.0, 41.0, 63.0, 42.0)]


@pytest.mark.parametrize("radius", [3.0, 0.5])
def test_as_the_plain_loops(radius: float) -> None:
    places, truth = points(), targets([CROWDED], [[0, 1, 2, 0]], size=SIZE)
    matcher = DynamicSoftLabel(radius=radius)
    positives = 0
    for seed in range(6):
        predictions = said(places, 1, 3, seed)
        index, quality = by_loops(places, truth, predictions, radius=radius)
        found = matcher(places, truth, predictions)
        assert found.index[0].tolist() == index, seed
        assert found.quality is not None
        torch.testing.assert_close(
            found.quality[0].double(), torch.tensor(quality, dtype=torch.float64), rtol=1e-5, atol=1e-6
        )
        positives += sum(row >= 0 for row in index)
    assert positives > 6 * len(CROWDED)  # some take several points


def perfect(places: Candidates, box: tuple[float, ...]) -> Predictions:
    """Every point says class 0 with a score of 0.9, and the box itself."""
    count = places.boxes.shape[1]
    deltas = Edges().encode(torch.tensor(box).expand(1, count, 4), places.boxes, places.strides())
    logits = torch.full((1, count, 2), -math.log(9))
    logits[..., 0] = math.log(9)
    return Predictions(logits, "sigmoid", deltas[:, :, None])


def test_thirteen_perfect_boxes_at_the_points_nearest_in_strides() -> None:
    box = (15.0, 15.0, 65.0, 57.0)  # its centre is (40, 36)
    places = points()
    found = DynamicSoftLabel()(places, targets([[box]], size=SIZE), perfect(places, box))
    # all pairs cost the same but for the centre prior, which grows with the distance in strides
    chosen = (places.boxes[0, :, :2] + places.boxes[0, :, 2:]) / 2
    strides = places.strides()
    far = (chosen - torch.tensor([40.0, 36.0])).norm(dim=1) / strides
    within = ((chosen > torch.tensor(box[:2])) & (chosen < torch.tensor(box[2:]))).all(1)
    nearest = torch.where(within, far, torch.inf).argsort(stable=True)[:13].sort().values
    assert found.positive[0].nonzero().squeeze(1).tolist() == nearest.tolist()
    assert found.quality is not None
    torch.testing.assert_close(found.quality[0, nearest], torch.ones(13))


def test_top_k_bounds_the_positives() -> None:
    box = (15.0, 15.0, 65.0, 57.0)
    places, truth = points(), targets([[box]], size=SIZE)
    assert int(DynamicSoftLabel(top_k=4)(places, truth, perfect(places, box)).positive.sum()) == 4


def test_no_ground_truth_and_no_candidates() -> None:
    places = points()
    found = DynamicSoftLabel()(places, targets([[], [CROWDED[0]]], size=SIZE), said(places, 2, 3, 0))
    assert found.index[0].tolist() == [BACKGROUND] * places.boxes.shape[1]
    assert int(found.positive[1].sum()) >= 1
    none = DynamicSoftLabel()(places, targets([[], []], size=SIZE), said(places, 2, 3, 0))
    assert int(none.positive.sum()) == 0
    empty = Candidates(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool), coder=Edges())
    nothing = DynamicSoftLabel()(empty, targets([[CROWDED[0]]], size=SIZE), said(empty, 1, 3, 0))
    assert nothing.index.shape == (1, 0)


def test_an_object_of_one_pixel_counts_only_where_a_point_lies_in_some_object() -> None:
    places = points()
    on, between = (31.5, 31.5, 32.5, 32.5), (34.0, 34.0, 35.0, 35.0)  # (32, 32) is a point of either stride
    assert int(DynamicSoftLabel()(places, targets([[on]], size=SIZE), said(places, 1, 3, 0)).positive.sum()) == 1
    assert int(DynamicSoftLabel()(places, targets([[between]], size=SIZE), said(places, 1, 3, 0)).positive.sum()) == 0
    both = DynamicSoftLabel()(places, targets([[between, CROWDED[2]]], size=SIZE), said(places, 1, 3, 0))
    assert (both.index[0] == 0).sum() == 1  # it takes a point of the other, as in the release
    assert (both.index[0] == 1).sum() >= 1


def test_a_point_on_the_border_lies_outside() -> None:
    places = points()
    found = DynamicSoftLabel()(places, targets([[(32.0, 32.0, 39.0, 39.0)]], size=SIZE), said(places, 1, 3, 0))
    assert int(found.positive.sum()) == 0


def test_an_object_takes_a_point_however_far_it_is() -> None:
    """On large images the centre prior passes what float32 holds: 10^(distance - 3) at 130 strides."""
    places = points((32, 2048))
    truth = targets([[(1.0, 1.0, 7.0, 7.0), (1000.0, 2.0, 2040.0, 30.0)]], size=(32, 2048))
    found = DynamicSoftLabel()(places, truth, said(places, 1, 3, 0))
    assert (found.index[0] == 0).sum() == 1
    assert (found.index[0] == 1).sum() >= 1


def test_sixteen_pixels() -> None:
    places = points((16, 16))
    truth = targets([[(1.0, 1.0, 15.0, 15.0)]], size=(16, 16))
    found = DynamicSoftLabel()(places, truth, said(places, 1, 3, 0))
    assert found.index[0].tolist() == [BACKGROUND, BACKGROUND, BACKGROUND, 0, BACKGROUND]  # (8, 8) alone lies inside


def test_a_crowd_takes_no_point_and_its_points_leave_the_loss() -> None:
    places = points()
    truth = targets([[(0.0, 0.0, 48.0, 64.0), CROWDED[2]]], ignore=[[True, False]], size=SIZE)
    found: Assignment = DynamicSoftLabel()(places, truth, said(places, 1, 3, 0))
    left = (places.boxes[0, :, 2] <= 44) & (places.boxes[0, :, 0] >= 0) & (places.boxes[0, :, 1] >= 0)
    assert set(found.index[0][left].tolist()) == {IGNORE}
    assert (found.index[0] == 0).sum() == 0
    assert (found.index[0] == 1).sum() >= 1


def test_a_thousand_objects_in_pieces_are_matched_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1000, 2, generator=generator) * torch.tensor([80.0, 50.0])
    boxes = torch.cat([corner, corner + 2 + 12 * torch.rand(1000, 2, generator=generator)], 1).tolist()
    places, truth = points(), targets([boxes], [[row % 3 for row in range(1000)]], size=SIZE, padded=1008)
    predictions = said(places, 1, 3, 1)
    whole = DynamicSoftLabel()(places, truth, predictions)
    monkeypatch.setattr("detzoo.ops.matching.MAX_PAIRS", 8 * 17 * places.boxes.shape[1])
    pieces = DynamicSoftLabel()(places, truth, predictions)
    assert torch.equal(whole.index, pieces.index)
    assert whole.quality is not None
    assert pieces.quality is not None
    assert torch.equal(whole.quality, pieces.quality)


def test_without_predictions() -> None:
    with pytest.raises(RecipeError, match="dynamic_soft_label"):
        DynamicSoftLabel()(points(), targets([[CROWDED[0]]], size=SIZE))
