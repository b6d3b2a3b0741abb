"""The loss of soft targets: GFL's and TOOD's against plain loops, by hand, and in the empty case."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from detzoo.components.box_coders import Bins
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.losses.quality_multibox import QualityMultiBox
from detzoo.components.matchers.atss import Atss
from detzoo.components.matchers.task_aligned import TaskAligned
from detzoo.components.normalisers import Positives, Qualities
from detzoo.components.unreduced_losses import BinaryCrossEntropy, DistributionFocal, Giou, QualityFocal
from detzoo.errors import RecipeError
from detzoo.interfaces import Feature
from detzoo.ops import positive_rows
from detzoo.ops.boxes import giou, iou
from detzoo.ops.distributions import expectation
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from tests.components.matchers.scenes import grid, random_truth

B = BACKGROUND
REG_MAX = 6


def gfl(**changes: Any) -> QualityMultiBox:
    parts: dict[str, Any] = {
        "classification": QualityFocal(),
        "box": Giou(),
        "distribution": DistributionFocal(),
        "normaliser": Positives(),
        "box_normaliser": Qualities(),
    }
    return QualityMultiBox(**{**parts, **changes})


def tood(**changes: Any) -> QualityMultiBox:
    return gfl(
        classification=BinaryCrossEntropy(),
        distribution=None,
        normaliser=Qualities(),
        box_normaliser=None,
        target="matcher",
        box_by="target",
        **changes,
    )


def scene(dtype: torch.dtype = torch.float64) -> tuple[Predictions, Candidates, Targets]:
    places = dataclasses.replace(grid((8, 8, 8), (16, 4, 4)), coder=Bins(reg_max=REG_MAX))
    targets = random_truth(0, (4, 0, 6), size=64, most=50)
    generator = torch.Generator().manual_seed(1)
    count = places.boxes.shape[1]
    logits = torch.randn(3, count, 3, generator=generator, dtype=dtype).requires_grad_()
    bins = torch.randn(3, count, 4, REG_MAX + 1, generator=generator, dtype=dtype).requires_grad_()
    assert isinstance(places.coder, Bins)
    deltas = expectation(bins, places.coder.bins)[:, :, None]
    return Predictions(logits, "sigmoid", deltas, distribution=bins), places, targets


def plain_gfl(
    said: Predictions, places: Candidates, targets: Targets, assignment: Assignment
) -> tuple[Tensor, Tensor, Tensor]:
    """The release's loss_single over all levels, one candidate at a time."""
    assert said.class_logits is not None
    assert said.distribution is not None
    assert places.coder is not None
    zero = torch.zeros((), dtype=torch.float64)
    classes, boxes, bins, weights, positives = zero, zero, zero, zero, 0
    strides = places.strides()
    for image in range(assignment.index.shape[0]):
        for n, row in enumerate(assignment.index[image].tolist()):
            if row == IGNORE:
                continue
            p = torch.sigmoid(said.class_logits[image, n])
            soft = torch.zeros(3, dtype=torch.float64)
            if row >= 0:
                positives += 1
                truth = targets.boxes[image, row].double()
                found = places.coder.decode(said.deltas[image, n, 0], places.boxes[0, n].double(), strides[n].double())
                soft[targets.labels[image, row]] = iou(found.detach(), truth)
                weight = p.detach().max()
                weights = weights + weight
                boxes = boxes + weight * (1 - giou(found, truth))
                distances = places.coder.encode(truth, places.boxes[0, n].double(), strides[n].double())
                for edge, distance in enumerate(distances.tolist()):
                    left, log_p = int(distance), torch.log_softmax(said.distribution[image, n, edge], 0)
                    cost = (left + 1 - distance) * log_p[left] + (distance - left) * log_p[left + 1]
                    bins = bins - weight * cost / 4
            entropy = -soft * torch.log(p) - (1 - soft) * torch.log(1 - p)
            classes = classes + ((soft - p).abs() ** 2 * entropy).sum()
    least = torch.clamp(weights, min=1)
    return classes / max(1, positives), 2 * boxes / least, bins / least / 4


def test_gfl_equals_the_plain_loops_and_their_gradients() -> None:
    said, places, targets = scene()
    assignment = Atss()(places, targets)
    assert int(assignment.positive.sum()) > 10
    ours, theirs = gfl()(said, places, targets, assignment), plain_gfl(said, places, targets, assignment)
    assert list(ours) == ["classification", "box", "distribution"]
    for term, plain in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(term, plain, rtol=1e-5, atol=1e-7)
    leaves = (said.class_logits, said.distribution)
    found = torch.autograd.grad(sum(ours.values(), torch.zeros(())), leaves, retain_graph=True)  # type: ignore[arg-type]
    expected = torch.autograd.grad(sum(theirs, torch.zeros(())), leaves)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_static_way_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    for loss in (gfl(), gfl(distribution=None, box_by="one"), tood()):
        said, places, targets = scene(torch.float32)
        weighted = dataclasses.replace(
            targets, weight=torch.linspace(0, 1, targets.labels.numel()).view_as(targets.labels)
        )
        assignment = TaskAligned()(places, weighted, said)
        results = []
        for looks in (True, False):
            for module in (positive_rows, MultiBox.__module__):
                name = module if isinstance(module, str) else module.__name__
                monkeypatch.setattr(f"{name}.allows_dynamic_shapes", lambda _, looks=looks: looks)
            terms = loss(said, places, weighted, assignment)
            leaves = [said.class_logits, said.distribution]
            gradients = torch.autograd.grad(sum(terms.values(), torch.zeros(())), leaves, retain_graph=True)  # type: ignore[arg-type]
            results.append((terms, gradients))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("loss", [gfl(), tood()])
def test_without_objects_each_term_is_a_zero_connected_to_the_graph(loss: QualityMultiBox) -> None:
    said, places, targets = scene()
    ignored = Assignment(torch.full((3, places.boxes.shape[1]), IGNORE), quality=torch.zeros(3, places.boxes.shape[1]))
    for assignment in (ignored, dataclasses.replace(ignored, index=torch.full_like(ignored.index, B))):
        terms = loss(said, places, targets, assignment)
        assert all(term.item() == 0 for name, term in terms.items() if name != "classification")
        assert (terms["classification"].item() == 0) == bool((assignment.index == IGNORE).all())
        leaves = (said.class_logits, said.distribution)
        for gradient in torch.autograd.grad(sum(terms.values(), torch.zeros(())), leaves, retain_graph=True):  # type: ignore[arg-type]
            assert bool(torch.isfinite(gradient).all())


def test_tood_by_hand() -> None:
    """Two positives with targets 1 and .5, each predicting its own cell; the box is the first cell."""
    places = dataclasses.replace(grid((8, 1, 2), side=1.0), coder=Bins(reg_max=2))
    said = Predictions(torch.zeros(1, 2, 1), "sigmoid", torch.full((1, 2, 1, 4), 0.5))
    box = torch.tensor([[[0.0, 0, 8, 8]]])
    flags = torch.zeros(1, 1, dtype=torch.bool)
    targets = Targets(box, torch.zeros(1, 1, dtype=torch.long), flags, ~flags, torch.zeros(1, 4))
    assignment = Assignment(torch.tensor([[0, 0]]), quality=torch.tensor([[1.0, 0.5]]))
    terms = tood(box_weight=1.0)(said, places, targets, assignment)
    assert terms["classification"].item() == pytest.approx(2 * math.log(2) / 1.5)  # logit 0 costs log 2 for any target
    # the second cell only touches the box: IoU 0, and the hull is full: 1 - GIoU is 1
    assert terms["box"].item() == pytest.approx((1 * 0 + 0.5 * 1) / 1.5, abs=1e-6)
    every_class = dataclasses.replace(assignment, quality=torch.tensor([[[1.0], [0.5]]]))
    torch.testing.assert_close(tood(box_weight=1.0)(said, places, targets, every_class), terms)


def test_weights_of_ground_truth_multiply_their_positives() -> None:
    said, places, targets = scene()
    assignment = Atss()(places, targets)
    whole = gfl()(said, places, targets, assignment)
    ones = gfl()(said, places, dataclasses.replace(targets, weight=torch.ones_like(targets.boxes[..., 0])), assignment)
    assert all(torch.equal(whole[name], ones[name]) for name in whole)
    halves = dataclasses.replace(targets, weight=torch.full_like(targets.boxes[..., 0], 0.5))
    halved = gfl()(said, places, halves, assignment)
    for name in ("box", "distribution"):
        assert halved[name].item() == pytest.approx(whole[name].item() / 2, rel=1e-6)
    only = dataclasses.replace(assignment, index=torch.where(assignment.positive, assignment.index, IGNORE))
    alone = gfl()(said, places, targets, only)["classification"].item()
    background = whole["classification"].item() - alone
    assert halved["classification"].item() == pytest.approx(background + alone / 2, rel=1e-5)


def test_what_it_cannot_read_is_told() -> None:
    said, places, targets = scene()
    with pytest.raises(RecipeError, match="the matcher gives no quality"):
        tood()(said, places, targets, Atss()(places, targets))
    assert Feature.QUALITY_TARGETS in tood().needs
    assert Feature.QUALITY_TARGETS in gfl().gives - gfl().needs
