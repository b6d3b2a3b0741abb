"""Class losses of soft targets and the loss of a distribution: plain loops in float64, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from detzoo.components.box_coders import Bins, Edges
from detzoo.components.unreduced_losses import BinaryCrossEntropy, DistributionFocal, QualityFocal, Varifocal
from detzoo.errors import RecipeError
from detzoo.types import BACKGROUND, Candidates, Level

B = BACKGROUND
LABELS = torch.tensor([[0, 1, 2, B, B], [2, B, 0, 0, 1]])


def entropy(logit: Tensor, target: float) -> Tensor:
    p = 1 / (1 + torch.exp(-logit))
    return -target * torch.log(p) - (1 - target) * torch.log(1 - p)


def plain_quality_focal(logit: Tensor, target: float) -> Tensor:
    return abs(target - 1 / (1 + torch.exp(-logit))) ** 2 * entropy(logit, target)


def plain_varifocal(logit: Tensor, target: float) -> Tensor:
    if target > 0:
        return target * entropy(logit, target)
    return 0.75 * (1 / (1 + torch.exp(-logit))) ** 2 * entropy(logit, 0)


LOSSES = [
    (QualityFocal(), plain_quality_focal),
    (Varifocal(), plain_varifocal),
    (BinaryCrossEntropy(), entropy),
]


@pytest.mark.parametrize(("loss", "plain"), LOSSES)
@pytest.mark.parametrize("given", ["none", "positive", "every class"])
def test_equals_the_plain_loops_and_their_gradients(loss: nn.Module, plain: object, given: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(2, 5, 3, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    quality = torch.rand(*((2, 5, 3) if given == "every class" else (2, 5)), generator=generator, dtype=torch.float64)
    quality[0, 0] = 0.0  # a positive whose box misses its object
    found = loss(logits, LABELS, None if given == "none" else quality)
    rows = []
    for image in range(2):
        for n in range(5):
            total = torch.zeros((), dtype=torch.float64)
            for k in range(3):
                target = float(LABELS[image, n] == k)
                if given == "positive":
                    target *= float(quality[image, n])
                elif given == "every class":
                    target = float(quality[image, n, k])
                total = total + plain(logits[image, n, k], target)  # type: ignore[operator]
            rows.append(total)
    expected = torch.stack(rows).view(2, 5)
    torch.testing.assert_close(found, expected)
    weights = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    (ours,) = torch.autograd.grad((found * weights).sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad((expected * weights).sum(), logits)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("loss", [QualityFocal(), Varifocal(), BinaryCrossEntropy()])
def test_the_empty_case_and_large_logits(loss: nn.Module) -> None:
    assert loss(torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0)).shape == (2, 0)
    logits = torch.tensor([[[90.0, -90.0]]]).requires_grad_()
    found = loss(logits, torch.tensor([[0]]), torch.tensor([[1.0]]))
    found.sum().backward()
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_a_quality_that_is_reached_costs_its_entropy_times_nothing() -> None:
    # p = y: the focal factor is 0; varifocal pays the entropy of y, weighed by y
    y = 0.75
    logit = torch.tensor([[[math.log(3)]]])
    at = {"logits": logit, "labels": torch.tensor([[0]]), "quality": torch.tensor([[y]])}
    assert QualityFocal()(**at).item() == pytest.approx(0, abs=1e-6)
    assert Varifocal()(**at).item() == pytest.approx(y * -(y * math.log(y) + (1 - y) * math.log(1 - y)), rel=1e-5)


def cells(count: int, coder: nn.Module) -> Candidates:
    """A row of cells of 8 px, in the middle of which squares of 8 px stand."""
    left = torch.arange(count) * 8.0
    boxes = torch.stack([left, torch.zeros(count), left + 8, torch.full((count,), 8.0)], dim=1)
    levels = (Level("s8", 1, count, 1, 8.0),)
    return Candidates(boxes[None], torch.ones(1, count, dtype=torch.bool), levels, coder)  # type: ignore[arg-type]


def test_distribution_focal_equals_the_plain_loops_and_their_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    places = cells(6, Bins(reg_max=4))
    logits = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    corner = torch.rand(2, 6, 2, generator=generator, dtype=torch.float64) * 40 - 20
    boxes = torch.cat([corner, corner + 1 + torch.rand(2, 6, 2, generator=generator, dtype=torch.float64) * 60], -1)
    found = DistributionFocal()(torch.zeros(2, 6, 4), boxes, places, logits)
    rows = []
    for image in range(2):
        for n in range(6):
            x, y = 8 * n + 4, 4
            x1, y1, x2, y2 = boxes[image, n].tolist()
            total = torch.zeros((), dtype=torch.float64)
            for edge, px in enumerate((x - x1, y - y1, x2 - x, y2 - y)):
                distance = min(max(px / 8, 0.0), 3.9)
                left = int(distance)
                log_p = torch.log_softmax(logits[image, n, edge], 0)
                total = total - (left + 1 - distance) * log_p[left] - (distance - left) * log_p[left + 1]
            rows.append(total / 4)
    expected = torch.stack(rows).view(2, 6)
    torch.testing.assert_close(found, expected)
    (ours,) = torch.autograd.grad(found.square().sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected.square().sum(), logits)
    torch.testing.assert_close(ours, theirs)


def test_distribution_focal_by_hand() -> None:
    # the cell's own box: all edges half a stride away, halfway between bins 0 and 1
    places = cells(1, Bins(reg_max=2))
    flat = torch.zeros(1, 1, 4, 3)
    assert DistributionFocal()(torch.zeros(1, 1, 4), places.boxes, places, flat).item() == pytest.approx(math.log(3))
    # a box of one pixel in the middle: 1/16 of a stride
    pixel = torch.tensor([[[3.5, 3.5, 4.5, 4.5]]])
    peaked = torch.tensor([0.0, math.log(2), 0.0]).expand(1, 1, 4, 3)
    expected = -(15 / 16 * math.log(1 / 4) + 1 / 16 * math.log(2 / 4))
    assert DistributionFocal()(torch.zeros(1, 1, 4), pixel, places, peaked).item() == pytest.approx(expected)
    empty = DistributionFocal()(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), cells(0, Bins()), torch.zeros(2, 0, 4, 17))
    assert empty.shape == (2, 0)


@pytest.mark.parametrize("coder", [Bins(), Edges()])
def test_distribution_focal_needs_a_distribution_over_bins(coder: nn.Module) -> None:
    places = cells(1, coder)
    distribution = None if isinstance(coder, Bins) else torch.zeros(1, 1, 4, 17)
    with pytest.raises(RecipeError, match="predicts no distribution"):
        DistributionFocal()(torch.zeros(1, 1, 4), places.boxes, places, distribution)
