"""The tools of parity tests find what they are for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detzoo.prediction.detections import Detections
from detzoo.testing.parity import assert_runs_without, assert_same_detections, freeze_norms, leaves, spread_chain

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 20.0, 20.0], [1.0, 2.0, 3.0, 4.0]])
LABELS = torch.tensor([0, 1, 1])
SCORES = torch.tensor([0.9, 0.5, 0.5])


def found(boxes: torch.Tensor = BOXES, scores: torch.Tensor = SCORES, labels: torch.Tensor = LABELS) -> Detections:
    return Detections(boxes, scores, labels, ("a", "b", "c"), (30, 30))


def test_nothing_equals_nothing() -> None:
    assert_same_detections(found(BOXES[:0], SCORES[:0], LABELS[:0]), SCORES[:0], LABELS[:0], BOXES[:0])


def test_only_detections_of_equal_scores_may_change_places() -> None:
    assert_same_detections(found(BOXES[[0, 2, 1]], SCORES, LABELS), SCORES, LABELS, BOXES)
    with pytest.raises(AssertionError, match=r"detection 0: \[0.0, 0.0, 10.0, 10.0\] of class 0 is not found"):
        assert_same_detections(found(BOXES[[1, 0, 2]], SCORES, LABELS[[1, 0, 2]]), SCORES, LABELS, BOXES)


@pytest.mark.parametrize(
    "mine",
    [
        found(BOXES + 0.02),
        found(scores=SCORES + 2e-4),
        found(labels=LABELS + 1),
        found(BOXES[[0, 1, 1]]),
        found(BOXES[:2], SCORES[:2], LABELS[:2]),
    ],
    ids=["moved", "another score", "off by one", "one of them twice", "one too few"],
)
def test_differences_are_found(mine: Detections) -> None:
    with pytest.raises(AssertionError):
        assert_same_detections(mine, SCORES, LABELS, BOXES)


def test_layers_are_spread_and_norms_frozen() -> None:
    torch.manual_seed(0)
    last, norm = nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Sequential(last, norm))
    pixels = [torch.rand(1, 3, 8, 8) for _ in range(2)]
    spread_chain(leaves(net)[:3], pixels)
    out = torch.cat([last(net[:2](x)) for x in pixels]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.std(1), torch.ones(2))
    torch.testing.assert_close(out.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    before = net.eval()(pixels[0])
    freeze_norms(net, 1e-5)
    assert not list(net[2].parameters())[2:]  # the convolution's alone are left
    torch.testing.assert_close(net(pixels[0]), before)


@pytest.mark.slow  # a process of its own, as in the tests of plugins that call it
def test_a_blocked_module_is_missed_by_who_needs_it() -> None:
    with pytest.raises(AssertionError, match=r"detzoo\.ops\.nms is blocked"):
        assert_runs_without("detzoo.ops.nms", ["ssd_ultralight_face_slim"])
