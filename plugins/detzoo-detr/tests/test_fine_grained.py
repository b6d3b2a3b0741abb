"""D-FINE's bins, targets and boxes, by plain loops and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers.loss import loss_d_fine
from transformers.models.d_fine import modeling_d_fine

from detzoo.ops.distributions import expectation
from detzoo_detr.fine_grained import FineGrained, LocationQuality, between_bins, weighting_function

STRIDES = torch.ones(1)


def test_four_inner_bins_by_hand() -> None:
    """N = 6, a = 1 and 1 / c = 3: s = 4^(2/4) = 2, so 1 and 3 on either side of zero, and 6 at the end."""
    assert weighting_function(6, up=1.0, reg_scale=3.0).tolist() == pytest.approx([-6, -3, -1, 0, 1, 3, 6])


@pytest.mark.parametrize("reg_scale", [4.0, 8.0])
def test_bins_are_those_of_transformers(reg_scale: float) -> None:
    up, scale = torch.tensor([0.5], dtype=torch.float64), torch.tensor([reg_scale], dtype=torch.float64)
    expected = modeling_d_fine.weighting_function(32, up, scale)
    found = weighting_function(32, up=0.5, reg_scale=reg_scale)
    assert torch.allclose(found, expected, rtol=1e-12)
    assert (found[1:] > found[:-1]).all()
    assert torch.equal(found, -found.flip(0))


def test_targets_by_plain_loops() -> None:
    """The nearest bin to the left, and the share of the distance to the next; outside, all to the outermost."""
    values = weighting_function(8, up=0.5, reg_scale=4.0)
    distances = torch.linspace(-6, 6, 61, dtype=torch.float64)
    left, share = between_bins(distances, values)
    numbers = values.tolist()
    for distance, row, part in zip(distances.tolist(), left.tolist(), share.tolist(), strict=True):
        if distance <= numbers[0]:
            assert (row, part) == (0, 0.0)
        elif distance >= numbers[-1]:
            assert (row, part) == (len(numbers) - 2, 1.0)
        else:
            below = max(i for i, value in enumerate(numbers) if value <= distance)
            assert row == below
            assert part == pytest.approx((distance - numbers[below]) / (numbers[below + 1] - numbers[below]))


def test_targets_are_those_of_transformers() -> None:
    """What each of the 33 bins gets; theirs writes the last one as 31.9."""
    coder = FineGrained()
    source = torch.Generator().manual_seed(0)
    points = torch.rand(40, 4, generator=source) * 0.5 + 0.2  # cx, cy, w, h
    truth = torch.rand(40, 2, 2, generator=source).sort(1).values.flatten(1)
    bins, right, left = loss_d_fine.bbox2distance(points, truth, 32, torch.tensor([4.0]), torch.tensor([0.5]))
    boxes = torch.cat([points[:, :2] - points[:, 2:] / 2, points[:, :2] + points[:, 2:] / 2], dim=1)
    row, share = between_bins(coder.encode(truth, boxes, STRIDES), coder.bins)
    expected, found = torch.zeros(160, 33), torch.zeros(160, 33)
    for part, weight in ((bins.long(), left), (bins.long() + 1, right)):
        expected.scatter_add_(1, part[:, None], weight[:, None])
    for part, weight in ((row, 1 - share), (row + 1, share)):
        found.scatter_add_(1, part.reshape(-1, 1), weight.reshape(-1, 1))
    assert len(set(expected.argmax(1).tolist())) > 10
    assert torch.allclose(found, expected, atol=1e-4)


def test_boxes_by_hand() -> None:
    """A box of 40 x 20 px, unit a quarter of its sides: 10 and 5 px."""
    coder, box = FineGrained(reg_scale=4.0), torch.tensor([[100.0, 50.0, 140.0, 70.0]])
    deltas = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    decoded = coder.decode(deltas, box, STRIDES)
    assert decoded.tolist() == [[90.0, 60.0, 145.0, 85.0]]
    assert torch.allclose(coder.encode(decoded, box, STRIDES), deltas)


def test_boxes_are_those_of_transformers() -> None:
    coder = FineGrained(reg_scale=8.0)
    source = torch.Generator().manual_seed(1)
    points = torch.rand(1, 30, 4, generator=source, dtype=torch.float64)
    corners = torch.randn(1, 30, 132, generator=source, dtype=torch.float64)
    values = weighting_function(32, up=0.5, reg_scale=8.0)
    distances = expectation(corners.view(1, 30, 4, 33), values)
    expected = modeling_d_fine.distance2bbox(points, distances, 8.0)
    boxes = torch.cat([points[..., :2] - points[..., 2:] / 2, points[..., :2] + points[..., 2:] / 2], dim=-1)
    found = coder.decode(distances, boxes, STRIDES)
    middle, size = (found[..., :2] + found[..., 2:]) / 2, found[..., 2:] - found[..., :2]
    assert torch.allclose(torch.cat([middle, size], dim=-1), expected, atol=1e-12)


def test_integral_by_plain_loops() -> None:
    values = weighting_function(4, up=0.5, reg_scale=4.0)  # 5 bins
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = expectation(logits, values)
    for place in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        powers = [math.exp(value) for value in logits[place].tolist()]
        mean = sum(p * w for p, w in zip(powers, values.tolist(), strict=True)) / sum(powers)
        assert found[place].item() == pytest.approx(mean)


def test_a_candidate_without_area_gives_finite_numbers() -> None:
    coder, nothing = FineGrained(), torch.tensor([[5.0, 5.0, 5.0, 9.0]])
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert torch.isfinite(coder.encode(truth, nothing, STRIDES)).all()
    assert torch.isfinite(coder.decode(torch.full((1, 4), 1e4), nothing, STRIDES)).all()


def test_quality_reads_the_highest_probabilities_and_their_mean() -> None:
    quality = LocationQuality(nn.Linear(12, 1, bias=False).double(), top=2)
    logits = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = quality(logits)
    weights = next(quality.outputs.parameters())[0].tolist()
    for query in range(2):
        read = []
        for edge in range(4):
            powers = [math.exp(value) for value in logits[0, query, edge].tolist()]
            first, second = sorted((power / sum(powers) for power in powers), reverse=True)[:2]
            read += [first, second, (first + second) / 2]
        assert found[0, query, 0].item() == pytest.approx(sum(w * r for w, r in zip(weights, read, strict=True)))
