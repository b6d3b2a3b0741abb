"""R-FCN's loss: against plain loops and sorting by hand, and where there is nothing to learn from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from detzoo.components.box_coders import CentreSize
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.miners import Ohem
from detzoo.components.normalisers import Fixed, Sampled
from detzoo.components.samplers import All
from detzoo.components.unreduced_losses import CrossEntropy, SmoothL1
from detzoo.ops.regions import append_ground_truth, compact
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_faster_rcnn.rfcn_loss import RfcnLoss

B, OUT = BACKGROUND, IGNORE
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def rfcn(**changes: Any) -> RfcnLoss:
    """As released: the hardest are mined, boxes are divided by a constant."""
    parts: dict[str, Any] = {
        "classification": CrossEntropy(),
        "box": SmoothL1(beta=1.0),
        "miner": Ohem(size=3),
        "normaliser": Sampled(),
        "box_normaliser": Fixed(value=256.0, scope="batch"),
    }
    return RfcnLoss(**(parts | changes))


def scene(
    *, images: int = 2, regions: int = 8, boxes: int = 1, dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[Predictions, Candidates, Targets, Assignment]:
    """Three ground truths an image, three classes; a third of the regions positive, a few ignored."""
    source = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        corner = torch.rand(*shape, 2, generator=source) * 40
        return torch.cat([corner, corner + 8 + torch.rand(*shape, 2, generator=source) * 30], dim=-1).to(dtype)

    valid = torch.ones(images, 3, dtype=torch.bool)
    labels = torch.randint(0, 3, (images, 3), generator=source)
    targets = Targets(some(images, 3), labels, ~valid, valid, torch.zeros(images, 4))
    index = torch.tensor([0, B, 2, B, OUT, B, 1, B]).repeat(regions // 8 + 1)[:regions].repeat(images, 1)
    logits = torch.randn(images, regions, 4, generator=source).to(dtype).requires_grad_()
    deltas = torch.randn(images, regions, boxes, 4, generator=source).to(dtype).requires_grad_()
    candidates = Candidates(some(images, regions), index != OUT, coder=CentreSize(weights=WEIGHTS))
    return Predictions(logits, "softmax", deltas), candidates, targets, Assignment(index)


def logits_of(predictions: Predictions) -> Tensor:
    assert predictions.class_logits is not None
    return predictions.class_logits


def region_losses(
    predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment, image: int, row: int
) -> tuple[float, float]:
    """Class and box loss of one region, in plain arithmetic."""
    truth = int(assignment.index[image, row])
    label = int(targets.labels[image, truth]) if truth >= 0 else -1
    logits: list[float] = logits_of(predictions)[image, row].tolist()
    classes = math.log(sum(math.exp(x) for x in logits)) - logits[label + 1]
    if truth < 0:
        return classes, 0.0
    x1, y1, x2, y2 = candidates.boxes[image, row].tolist()
    u1, v1, u2, v2 = targets.boxes[image, truth].tolist()
    w, h = x2 - x1, y2 - y1
    wanted = (
        10 * ((u1 + u2) / 2 - (x1 + x2) / 2) / w,
        10 * ((v1 + v2) / 2 - (y1 + y2) / 2) / h,
        5 * math.log((u2 - u1) / w),
        5 * math.log((v2 - v1) / h),
    )
    column = label if predictions.deltas.shape[2] > 1 else 0
    said = predictions.deltas[image, row, column].tolist()
    off = [abs(a - b) for a, b in zip(said, wanted, strict=True)]
    return classes, sum(d * d / 2 if d < 1 else d - 0.5 for d in off)


@pytest.mark.parametrize("boxes", [1, 3])
@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_ohem_is_sorting_by_hand(size: int, boxes: int) -> None:
    predictions, candidates, targets, assignment = scene(boxes=boxes, seed=size)
    terms = rfcn(miner=Ohem(size=size))(predictions, candidates, targets, assignment)
    classes, offsets, mined = 0.0, 0.0, 0
    for image in range(2):
        rows = [row for row in range(8) if int(assignment.index[image, row]) != OUT]
        losses = [region_losses(predictions, candidates, targets, assignment, image, row) for row in rows]
        hardest = sorted(losses, key=sum, reverse=True)[:size]
        classes, offsets = classes + sum(a for a, _ in hardest), offsets + sum(b for _, b in hardest)
        mined += len(hardest)
    assert mined == 2 * min(size, 7)
    assert terms["classification"].item() == pytest.approx(classes / mined, rel=1e-5)
    assert terms["box"].item() == pytest.approx(offsets / 256, rel=1e-5)


def one_image(costs: list[tuple[float, float]]) -> tuple[Predictions, Candidates, Targets, Assignment]:
    """Regions, all alike and positive, of one class; each costs what it is told: (class loss, box loss above 0.5)."""
    count = len(costs)
    truth = torch.tensor([[[0.0, 0.0, 10.0, 10.0]]])
    flags = torch.zeros(1, 1, dtype=torch.bool)
    targets = Targets(truth, torch.zeros(1, 1, dtype=torch.int64), flags, ~flags, torch.zeros(1, 4))
    candidates = Candidates(truth.expand(1, count, 4), torch.ones(1, count, dtype=torch.bool), coder=CentreSize())
    # log(1 + e^x) = cost for the logits (x, 0); |d| - 0.5 = cost for one delta, the others being right
    logits = torch.tensor([[[math.log(math.expm1(cost)), 0.0] for cost, _ in costs]]).requires_grad_()
    deltas = torch.tensor([[[[cost + 0.5, 0.0, 0.0, 0.0]] for _, cost in costs]]).requires_grad_()
    return Predictions(logits, "softmax", deltas), candidates, targets, Assignment(torch.zeros(1, count).long())


def test_mined_by_the_sum_of_class_and_box_loss() -> None:
    # by class alone 0 and 1 are hardest, by box alone 2 and 3; by the sum it is 1 and 3
    scenery = one_image([(3.0, 0.5), (2.5, 1.5), (0.2, 3.0), (1.0, 4.0)])
    predictions = scenery[0]
    terms = rfcn(miner=Ohem(size=2))(*scenery)
    assert terms["classification"].item() == pytest.approx((2.5 + 1.0) / 2, rel=1e-5)
    assert terms["box"].item() == pytest.approx((1.5 + 4.0) / 256, rel=1e-5)
    sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    for leaf in (logits_of(predictions), predictions.deltas):
        assert leaf.grad is not None
        # only what was mined learns, in both terms
        assert leaf.grad.flatten(2).any(2).tolist() == [[False, True, False, True]]


def test_without_nms_equal_regions_are_all_mined() -> None:
    scenery = one_image([(3.0, 1.0), (0.1, 0.5), (3.0, 1.0), (3.0, 1.0)])
    chosen = rfcn().mine(torch.tensor([[4.0, 0.6, 4.0, 4.0]]), scenery[3])
    assert chosen.index.tolist() == [[0, OUT, 0, 0]]  # one box three times over; OHEM as published keeps one of them
    assert rfcn()(*scenery)["classification"].item() == pytest.approx(3.0, rel=1e-5)


def test_boxes_are_divided_by_a_constant() -> None:
    scenery = one_image([(1.0, 2.0), (1.0, 2.0)])
    assert rfcn()(*scenery)["box"].item() == pytest.approx(4.0 / 256, rel=1e-5)
    per_image = rfcn(box_normaliser=Fixed(value=128.0, scope="image"))(*scenery)
    assert per_image["box"].item() == pytest.approx(4.0 / 128, rel=1e-5)  # 128 for one image is 256 for two


def test_of_equal_losses_just_as_many_are_mined() -> None:
    index = torch.tensor([[0, B, B, 1, B, OUT]] * 2)
    chosen = rfcn().mine(torch.ones(2, 6), Assignment(index)).index
    assert (chosen != OUT).sum(1).tolist() == [3, 3]
    assert torch.equal(torch.where(chosen != OUT, chosen, index), index)


def test_weights_count_in_the_mining_too() -> None:
    scenery = one_image([(3.0, 0.5), (0.5, 2.0)])
    hard_to_name = rfcn(miner=Ohem(size=1))(*scenery)
    hard_to_place = rfcn(miner=Ohem(size=1), box_weight=4.0)(*scenery)
    assert hard_to_name["classification"].item() == pytest.approx(3.0, rel=1e-5)
    assert hard_to_place["classification"].item() == pytest.approx(0.5, rel=1e-5)
    assert hard_to_place["box"].item() == pytest.approx(4 * 2.0 / 256, rel=1e-5)


def test_without_a_miner_it_is_the_multibox_loss() -> None:
    scenery = scene(boxes=3)
    parts: dict[str, Any] = {"classification": CrossEntropy(), "box": SmoothL1(), "normaliser": Sampled()}
    found = RfcnLoss(**parts, box_normaliser=Sampled(), box_weight=2.0)(*scenery)
    expected = MultiBox(**parts, box_weight=2.0)(*scenery)
    for name, term in expected.items():
        torch.testing.assert_close(found[name], term)


@pytest.mark.parametrize("regions", [0, 8])
@pytest.mark.parametrize("truths", [0, 3])
@pytest.mark.parametrize("boxes", [1, 3])
def test_without_positives(regions: int, truths: int, boxes: int) -> None:
    predictions, candidates, targets, _ = scene(regions=regions, boxes=boxes)
    unmarked = torch.zeros(2, truths, dtype=torch.bool)
    targets = Targets(targets.boxes[:, :truths], targets.labels[:, :truths], unmarked, unmarked, targets.region)
    nothing = Assignment(torch.full((2, regions), B))
    terms = rfcn()(predictions, candidates, targets, nothing)
    assert terms["box"].item() == 0
    assert (terms["classification"].item() > 0) == (regions > 0)
    sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert predictions.deltas.grad is not None
    assert not predictions.deltas.grad.any()


def test_all_ignored_is_a_connected_zero() -> None:
    predictions, candidates, targets, assignment = scene()
    terms = rfcn()(predictions, candidates, targets, Assignment(torch.full_like(assignment.index, OUT)))
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    logits = logits_of(predictions).grad
    assert logits is not None
    assert not logits.any()


def test_one_pixel_boxes_and_padding_stay_finite() -> None:
    predictions, candidates, targets, assignment = scene()
    candidates.boxes[:, 0] = torch.tensor([5.0, 5.0, 6.0, 6.0])
    candidates.boxes[:, 4] = 0.0  # ignored, no area
    targets.boxes[:, 0] = torch.tensor([30.0, 5.0, 31.0, 6.0])
    terms = rfcn(miner=Ohem(size=100))(predictions, candidates, targets, assignment)
    sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    for leaf in (logits_of(predictions), predictions.deltas):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    assert all(term.isfinite() for term in terms.values())


@pytest.mark.parametrize("miner", [Ohem(size=3), None])
@pytest.mark.parametrize("boxes", [1, 3])
def test_gradients(miner: Ohem | None, boxes: int) -> None:
    predictions, candidates, targets, assignment = scene(boxes=boxes, dtype=torch.float64)

    def terms(logits: Tensor, deltas: Tensor) -> tuple[Tensor, ...]:
        said = Predictions(logits, "softmax", deltas)
        return tuple(rfcn(miner=miner)(said, candidates, targets, assignment).values())

    assert torch.autograd.gradcheck(terms, (logits_of(predictions), predictions.deltas))


def test_sampler_all_hands_every_region_to_the_miner() -> None:
    """Through the meta-architecture: sampler all has no size, so nothing is drawn, padded or cut before the loss."""
    _, candidates, targets, assignment = scene()
    rois = append_ground_truth(candidates, targets)
    index = torch.cat([assignment.index, torch.arange(3).expand(2, 3)], dim=1)
    index[1, 1] = OUT
    sampler = All()
    kept, thinned = compact(rois, sampler(Assignment(index)), sampler.size)
    assert thinned.index.tolist() == [[0, 2, 1, 0, 1, 2, B, B, B, B], [0, 2, 1, 0, 1, 2, B, B, B, OUT]]
    assert kept.valid.sum(1).tolist() == [10, 9]
    assert kept.boxes[0, 3:6].tolist() == targets.boxes[0].tolist()
