"""SimOTA against the release's algorithm written as plain loops in float64, and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.errors import RecipeError
from detzoo.ops.boxes import iou_matrix
from detzoo.testing import candidates, targets
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_yolox.box_coder import CellCorner
from detzoo_yolox.simota import SimOta

SIZE = (64, 96)
LOGIT_09 = math.log(9)  # sigmoid 0.9


def cells() -> Candidates:
    return candidates(size=SIZE, strides=(8, 16), sides=(1.0,), coder=CellCorner())


def said(places: Candidates, batch: int, classes: int, seed: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    count = places.boxes.shape[1]
    draw = torch.randn(batch, count, classes + 5, generator=generator)
    deltas = draw[..., None, :4].clamp(-1, 1) + torch.tensor([0.0, 0.0, 1.2, 1.0])  # as large as the objects
    return Predictions(draw[..., 5:], "sigmoid", deltas, quality_logits=draw[..., 4].contiguous())


def by_loops(
    places: Candidates, truth: Targets, predictions: Predictions, *, radius: float, inside: bool, top_k: int = 10
) -> tuple[list[int], list[float]]:
    """Of the first image: the release's ``get_assignments`` and ``simota_matching``, a pair at a time."""
    assert predictions.class_logits is not None
    assert predictions.quality_logits is not None
    count, strides = places.boxes.shape[1], places.strides().tolist()
    boxes = [box for box, ok in zip(truth.boxes[0].tolist(), truth.usable[0].tolist(), strict=True) if ok]
    labels = [label for label, ok in zip(truth.labels[0].tolist(), truth.usable[0].tolist(), strict=True) if ok]
    found = CellCorner().decode(
        predictions.deltas[0, :, 0].double(), places.boxes[0].double(), places.strides().double()
    )
    middles = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in places.boxes[0].tolist()]
    near = [
        [
            abs(x - (box[0] + box[2]) / 2) < radius * stride and abs(y - (box[1] + box[3]) / 2) < radius * stride
            for (x, y), stride in zip(middles, strides, strict=True)
        ]
        for box in boxes
    ]
    within = [[box[0] < x < box[2] and box[1] < y < box[3] for x, y in middles] for box in boxes]
    allowed = [n for n in range(count) if any(near[m][n] or (inside and within[m][n]) for m in range(len(boxes)))]
    overlaps, costs = [], []
    for m, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        row, cost = [], []
        for n in allowed:
            overlap = float(iou_matrix(torch.tensor([box], dtype=torch.float64), found[n : n + 1]))
            entropy = 0.0
            for k, logit in enumerate(predictions.class_logits[0, n].double().tolist()):
                score = math.sqrt(1 / (1 + math.exp(-logit)) / (1 + math.exp(-float(predictions.quality_logits[0, n]))))
                entropy -= math.log(score) if k == label else math.log(1 - score)
            best = near[m][n] and (within[m][n] or not inside)
            row.append(overlap)
            cost.append(entropy - 3 * math.log(overlap + 1e-8) + (0 if best else 1e6))
        overlaps.append(row)
        costs.append(cost)
    chosen: dict[int, list[int]] = {}
    for m in range(len(boxes)):
        k = max(1, int(sum(sorted(overlaps[m], reverse=True)[:top_k])))
        for place in sorted(range(len(allowed)), key=lambda i, m=m: costs[m][i])[:k]:  # type: ignore[misc]
            chosen.setdefault(place, []).append(m)
    index, quality = [BACKGROUND] * count, [0.0] * count
    for place, owners in chosen.items():
        owner = owners[0] if len(owners) == 1 else min(range(len(boxes)), key=lambda m, p=place: costs[m][p])  # type: ignore[misc]
        index[allowed[place]], quality[allowed[place]] = owner, overlaps[owner][place]
    return index, quality


CROWDED = [(4.0, 4.0, 40.0, 40.0), (8.0, 6.0, 44.0, 38.0), (50.0, 10.0, 90.0, 60.0), (60.0, 40.0, 62.0, 41.0)]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("radius", [1.5, 2.5])
def test_as_the_plain_loops(radius: float, inside: bool) -> None:
    places, truth = cells(), targets([CROWDED], [[0, 1, 2, 0]], size=SIZE)
    matcher = SimOta(radius=radius, inside=inside, ignore_threshold=1.0)
    positives = 0
    for seed in range(4):
        predictions = said(places, 1, 3, seed)
        index, quality = by_loops(places, truth, predictions, radius=radius, inside=inside)
        found = matcher(places, truth, predictions)
        assert found.index[0].tolist() == index, seed
        assert found.quality is not None
        torch.testing.assert_close(
            found.quality[0].double(), torch.tensor(quality, dtype=torch.float64), rtol=1e-5, atol=1e-6
        )
        positives += sum(row >= 0 for row in index)
    assert positives > 4 * len(CROWDED)  # some take several cells


def perfect(places: Candidates, box: tuple[float, ...]) -> Predictions:
    """Every cell says class 0, surely, and the box itself."""
    count = places.boxes.shape[1]
    deltas = CellCorner().encode(torch.tensor(box).expand(1, count, 4), places.boxes, places.strides())
    logits = torch.full((1, count, 2), -LOGIT_09)
    logits[..., 0] = LOGIT_09
    return Predictions(logits, "sigmoid", deltas[:, :, None], quality_logits=torch.full((1, count), LOGIT_09))


def test_ten_perfect_boxes_make_ten_positives() -> None:
    box = (16.0, 16.0, 48.0, 48.0)  # its centre (32, 32) is a corner of cells: four of either stride are near
    places, truth = cells(), targets([[box]], size=SIZE)
    found = SimOta()(places, truth, perfect(places, box))
    near = [n for n, row in enumerate(found.index[0].tolist()) if row == 0]
    # |x - 32| < 1.5 strides: centres at 28, 36 (8 px; 20 and 44 are 12 px off, and that is not less) and 24, 40 (16 px)
    middle = ((places.boxes[0, :, :2] + places.boxes[0, :, 2:]) / 2).tolist()
    assert sorted(middle[n] for n in near) == sorted(
        [[x, y] for x in (28.0, 36.0) for y in (28.0, 36.0)] + [[x, y] for x in (24.0, 40.0) for y in (24.0, 40.0)]
    )
    assert found.quality is not None
    torch.testing.assert_close(found.quality[0, near], torch.ones(8))


def test_top_k_bounds_the_positives() -> None:
    box = (16.0, 16.0, 48.0, 48.0)
    places, truth = cells(), targets([[box]], size=SIZE)
    assert int(SimOta(top_k=3)(places, truth, perfect(places, box)).positive.sum()) == 3


def test_no_ground_truth_and_no_candidates() -> None:
    places = cells()
    found = SimOta()(places, targets([[], [CROWDED[0]]], size=SIZE), said(places, 2, 3, 0))
    assert found.index[0].tolist() == [BACKGROUND] * places.boxes.shape[1]
    assert int(found.positive[1].sum()) >= 1
    empty = Candidates(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool), coder=CellCorner())
    nothing = SimOta()(empty, targets([[CROWDED[0]]], size=SIZE), said(empty, 1, 3, 0))
    assert nothing.index.shape == (1, 0)


def test_an_object_between_the_images_edge_and_the_first_cell_still_gets_a_cell() -> None:
    places = cells()
    found = SimOta()(places, targets([[(0.0, 0.0, 1.0, 1.0)]], size=SIZE), said(places, 1, 3, 0))
    assert int(found.positive.sum()) == 1  # one pixel: IoUs add up to nearly nothing, and k is at least 1


def test_a_crowd_takes_no_cell_and_its_cells_leave_the_loss() -> None:
    places = cells()
    truth = targets([[(0.0, 0.0, 48.0, 64.0), CROWDED[2]]], ignore=[[True, False]], size=SIZE)
    found: Assignment = SimOta()(places, truth, said(places, 1, 3, 0))
    left = places.boxes[0, :, 2] <= 48
    assert set(found.index[0][left].tolist()) == {IGNORE}
    assert (found.index[0] == 0).sum() == 0
    assert (found.index[0] == 1).sum() >= 1


def test_a_thousand_objects_in_pieces_are_matched_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1000, 2, generator=generator) * torch.tensor([80.0, 50.0])
    boxes = torch.cat([corner, corner + 2 + 12 * torch.rand(1000, 2, generator=generator)], 1).tolist()
    places, truth = cells(), targets([boxes], [[row % 3 for row in range(1000)]], size=SIZE, padded=1008)
    predictions = said(places, 1, 3, 1)
    whole = SimOta()(places, truth, predictions)
    monkeypatch.setattr("detzoo.ops.matching.MAX_PAIRS", 4 * 17 * places.boxes.shape[1])
    pieces = SimOta()(places, truth, predictions)
    assert torch.equal(whole.index, pieces.index)
    assert whole.quality is not None
    assert pieces.quality is not None
    assert torch.equal(whole.quality, pieces.quality)


def test_with_static_shapes_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    places, truth = cells(), targets([CROWDED, []], [[0, 1, 2, 0], []], size=SIZE)
    predictions = said(places, 2, 3, 5)
    expected = SimOta()(places, truth, predictions)
    for module in ("detzoo_yolox.simota", "detzoo.ops.matching", "detzoo.ops.ignored_truth"):
        monkeypatch.setattr(f"{module}.allows_dynamic_shapes", lambda _: False)
    found = SimOta()(places, truth, predictions)
    assert torch.equal(found.index, expected.index)
    assert found.quality is not None
    assert expected.quality is not None
    torch.testing.assert_close(found.quality, expected.quality)


def test_without_predictions() -> None:
    with pytest.raises(RecipeError, match="simota"):
        SimOta()(cells(), targets([[CROWDED[0]]], size=SIZE))
