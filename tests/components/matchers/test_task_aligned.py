"""TOOD's matching against plain loops in float64, its soft targets by hand, and its edge cases."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from detzoo.components.matchers.task_aligned import TaskAligned
from detzoo.errors import RecipeError
from detzoo.types import BACKGROUND, IGNORE, Candidates, Predictions, Targets
from tests.components.matchers.scenes import (
    grid,
    plain_covered,
    plain_inside,
    plain_iou,
    random_predictions,
    random_truth,
    truth,
)

B, OUT = BACKGROUND, IGNORE
PYRAMID = ((8, 16, 16), (16, 8, 8), (32, 4, 4))


def plain_task_aligned(
    candidates: Candidates, targets: Targets, said: Predictions, image: int, top_k: int = 13
) -> tuple[list[int], list[float]]:
    """Section 3.2 of the paper with the release's scaling, one ground truth at a time."""
    assert said.class_logits is not None
    places, valid = candidates.boxes[0].double().tolist(), candidates.valid[0].tolist()
    strides = [level.stride for level in candidates.levels for _ in range(level.count)]
    boxes = targets.boxes[image].double().tolist()
    logits, reach = said.class_logits[image].double().tolist(), said.deltas[image, :, 0].double().tolist()
    predicted = []
    for place, stride, (left, top, right, bottom) in zip(places, strides, reach, strict=True):
        x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        predicted.append([x - left * stride, y - top * stride, x + right * stride, y + bottom * stride])
    found, best, metric = [B if ok else OUT for ok in valid], [-1.0] * len(places), [0.0] * len(places)
    for row, box in enumerate(boxes):
        if not bool(targets.usable[image, row]):
            continue
        label = int(targets.labels[image, row])
        overlap = [plain_iou(one, box) for one in predicted]
        aligned = [
            u**6 / (1 + math.exp(-own[label])) if ok else 0.0 for own, u, ok in zip(logits, overlap, valid, strict=True)
        ]
        for n in sorted(range(len(places)), key=lambda n: (-aligned[n], n))[:top_k]:
            if aligned[n] > 0 and plain_inside(places[n], box) and overlap[n] > best[n]:
                found[n], best[n], metric[n] = row, overlap[n], aligned[n]
    quality = [0.0] * len(places)
    for row in range(len(boxes)):
        own = [n for n in range(len(places)) if found[n] == row]
        for n in own:
            quality[n] = metric[n] / (max(metric[m] for m in own) + 1e-7) * max(best[m] for m in own)
    for row, box in enumerate(boxes):
        if bool(targets.ignore[image, row]):
            for n, place in enumerate(places):
                if found[n] == B and plain_covered(place, box) >= 0.5:
                    found[n] = OUT
    return found, quality


def said_exactly(places: Candidates, boxes: list[list[float]], scores: list[float]) -> Predictions:
    """Predictions of one class: the given boxes and scores."""
    wanted = torch.tensor([boxes])
    assert places.coder is not None
    deltas = places.coder.encode(wanted, places.boxes, places.strides())
    return Predictions(torch.tensor(scores).logit().view(1, -1, 1), "sigmoid", deltas.unsqueeze(2))


def test_no_ground_truth_is_all_background() -> None:
    places = grid((8, 2, 2))
    for targets in (truth([]), truth([], padded=3)):
        found = TaskAligned()(places, targets, random_predictions(0, 1, places))
        assert found.index.tolist() == [[B] * 4]
        assert found.quality is not None
        assert found.quality.tolist() == [[0.0] * 4]
    nowhere = Candidates(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool), coder=places.coder)
    found = TaskAligned()(nowhere, truth([[0.0, 0.0, 8.0, 8.0]]), random_predictions(0, 1, nowhere))
    assert found.index.shape == (1, 0)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_plain_loops(seed: int) -> None:
    places, targets = grid(*PYRAMID), random_truth(seed, (7, 0, 1, 25))
    said = random_predictions(seed, 4, places)
    found = TaskAligned()(places, targets, said)
    assert found.quality is not None
    for image in range(4):
        index, quality = plain_task_aligned(places, targets, said, image)
        assert found.index[image].tolist() == index
        torch.testing.assert_close(found.quality[image].double(), torch.tensor(quality).double(), rtol=1e-4, atol=1e-6)
    assert int((found.index >= 0).sum()) > 60


def test_a_thousand_boxes_in_chunks_equal_the_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    places, targets = grid((16, 8, 8), (32, 4, 4)), random_truth(9, (1000,), most=30.0)
    said = random_predictions(9, 1, places)
    whole = TaskAligned()(places, targets, said)
    assert whole.index[0].tolist() == plain_task_aligned(places, targets, said, 0)[0]
    monkeypatch.setattr("detzoo.ops.matching.MAX_PAIRS", 5000)
    assert torch.equal(TaskAligned()(places, targets, said).index, whole.index)


def test_quality_by_hand() -> None:
    # squares of 16 px; the box is the first two. Predicted: the box itself with score .25, its half with score 1
    places = grid((16, 1, 3), side=1.0)
    box = [0.0, 0.0, 32.0, 16.0]
    said = said_exactly(places, [box, [0.0, 0.0, 16.0, 16.0], box], [0.25, 0.5, 0.9])
    found = TaskAligned(beta=1.0)(places, truth([box]), said)
    assert found.index.tolist() == [[0, 0, B]]  # the third predicts well, but from outside
    assert found.quality is not None
    # t = .25 * 1 and .5 * .5: both are the highest; the highest IoU is 1
    assert found.quality[0].tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    found = TaskAligned(beta=3.0)(places, truth([box]), said)
    assert found.quality is not None
    assert found.quality[0].tolist() == pytest.approx([1, 0.5 * 0.5**3 / 0.25, 0], abs=1e-6)


def test_top_k_comes_before_the_centre_as_in_the_release() -> None:
    places = grid((16, 1, 3), side=1.0)
    box = [0.0, 0.0, 32.0, 16.0]
    said = said_exactly(places, [box] * 3, [0.25, 0.5, 0.9])
    assert TaskAligned(top_k=1)(places, truth([box]), said).index.tolist() == [[B, B, B]]
    assert TaskAligned(top_k=2)(places, truth([box]), said).index.tolist() == [[B, 0, B]]
    # of equal alignments the first candidates are taken
    said = said_exactly(places, [box] * 3, [0.5, 0.5, 0.5])
    assert TaskAligned(top_k=1)(places, truth([box]), said).index.tolist() == [[0, B, B]]


def test_rivals_are_judged_by_the_predicted_box() -> None:
    places = grid((16, 1, 1), side=1.0)
    one, other = [0.0, 0.0, 16.0, 16.0], [4.0, 4.0, 12.0, 12.0]
    assert TaskAligned()(places, truth([one, other]), said_exactly(places, [other], [0.9])).index.tolist() == [[1]]
    assert TaskAligned()(places, truth([one, other]), said_exactly(places, [one], [0.9])).index.tolist() == [[0]]
    assert TaskAligned()(places, truth([one, one]), said_exactly(places, [one], [0.9])).index.tolist() == [[0]]


def test_predictions_that_touch_nothing_have_no_positives() -> None:
    places = grid((8, 4, 4))
    far = said_exactly(places, [[100.0, 100.0, 108.0, 108.0]] * 16, [0.5] * 16)
    found = TaskAligned()(places, truth([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 16.0, 16.0]]), far)
    assert bool((found.index == B).all())
    ignored = dataclasses.replace(truth([[0.0, 0.0, 32.0, 32.0]]), ignore=torch.ones(1, 1, dtype=torch.bool))
    assert bool((TaskAligned()(places, ignored, far).index[:, [5, 6, 9, 10]] == OUT).all())


def test_it_needs_predictions_with_one_box() -> None:
    places, targets = grid((8, 1, 1)), truth([[0.0, 0.0, 8.0, 8.0]])
    with pytest.raises(RecipeError, match="shown no class predictions"):
        TaskAligned()(places, targets)
    said = random_predictions(0, 1, places)
    with pytest.raises(RecipeError, match="one box per class"):
        TaskAligned()(places, targets, dataclasses.replace(said, deltas=said.deltas.expand(-1, -1, 3, -1)))


def test_it_compiles_without_a_graph_break() -> None:
    places, targets = grid(*PYRAMID), random_truth(1, (5, 2))
    matcher, said = TaskAligned(), random_predictions(1, 2, places)
    compiled = torch.compile(matcher, backend="eager", fullgraph=True)
    assert torch.equal(compiled(places, targets, said).index, matcher(places, targets, said).index)
