"""The loss of masks: torchvision's number, a plain loop, and everything that must not count."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import maskrcnn_loss

from detzoo.errors import DataError
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Targets
from detzoo_faster_rcnn import mask_loss as module
from detzoo_faster_rcnn.mask_loss import MaskBce

B, OUT = BACKGROUND, IGNORE
BOTH_WAYS = pytest.mark.parametrize("eager", [True, False])


def scene(
    index: list[list[int]], *, classes: int = 3, side: int = 6, truths: int = 3, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Candidates, Targets, Assignment]:
    """Random masks and boxes on 20x24 px; every ground truth has a mask."""
    source = torch.Generator().manual_seed(3)
    images, count = len(index), len(index[0])

    def boxes(rows: int) -> Tensor:
        corner = torch.rand(images, rows, 2, generator=source) * 10
        return torch.cat([corner, corner + 3 + torch.rand(images, rows, 2, generator=source) * 8], -1).to(dtype)

    valid = torch.ones(images, truths, dtype=torch.bool)
    targets = Targets(
        boxes(truths),
        torch.randint(0, 3, (images, truths), generator=source),
        ~valid,
        valid,
        torch.zeros(images, 4),
        masks=(torch.rand(images * truths, 20, 24, generator=source) < 0.5).to(torch.uint8),
        mask_row=torch.arange(images * truths).view(images, truths),
    )
    logits = torch.randn(images, count, classes, side, side, generator=source).to(dtype).requires_grad_()
    assignment = Assignment(torch.tensor(index, dtype=torch.int64))
    return logits, Candidates(boxes(count), assignment.index != OUT), targets, assignment


def term(*given: object) -> Tensor:
    found = MaskBce()(*given)
    assert list(found) == ["mask"]
    value: Tensor = found["mask"]
    return value


@BOTH_WAYS
@pytest.mark.parametrize("index", [[[], []], [[B, OUT], [B, B]]], ids=["no regions", "no positives"])
def test_a_zero_connected_to_the_graph(eager: bool, index: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: eager)
    given = scene(index)
    value = term(*given)
    assert value.detach() == 0
    value.backward()  # type: ignore[no-untyped-call]
    grad = given[0].grad
    assert grad is not None
    assert grad.abs().sum() == 0


@BOTH_WAYS
@pytest.mark.parametrize("truths", [0, 3])
def test_ground_truth_without_any_mask_gives_a_zero(eager: bool, truths: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: eager)
    logits, rois, targets, assignment = scene([[B, B]] if truths == 0 else [[0, 2]], truths=truths)
    none = torch.full_like(targets.valid, -1, dtype=torch.int64)
    bare = Targets(
        targets.boxes,
        targets.labels,
        targets.ignore,
        targets.valid,
        targets.region,
        torch.zeros(0, 20, 24, dtype=torch.uint8),
        none,
    )
    value = term(logits, rois, bare, assignment)
    assert value.detach() == 0
    value.backward()  # type: ignore[no-untyped-call]


@BOTH_WAYS
def test_torchvision_computes_the_same_loss(eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: eager)
    index = [[0, 2, 2, B], [1, OUT, B, B]]
    logits, rois, targets, assignment = scene(index)
    assert targets.masks is not None
    ours = term(logits, rois, targets, assignment)
    kept = [[0, 1, 2], [0]]
    expected = maskrcnn_loss(
        torch.cat([logits[i, rows] for i, rows in enumerate(kept)]),
        [rois.boxes[i, rows] for i, rows in enumerate(kept)],
        list(targets.masks.view(2, 3, 20, 24)),
        list(targets.labels),
        [assignment.index[i, rows] for i, rows in enumerate(kept)],
    )
    torch.testing.assert_close(ours, expected, atol=1e-7, rtol=1e-6)


def test_positives_and_the_true_class_alone_get_gradients() -> None:
    logits, rois, targets, assignment = scene([[1, B, OUT, 0]])
    term(logits, rois, targets, assignment).backward()  # type: ignore[no-untyped-call]
    grad = logits.grad
    assert grad is not None
    touched = grad.abs().sum((3, 4))[0] > 0
    expected = torch.zeros(4, 3, dtype=torch.bool)
    expected[0, targets.labels[0, 1]] = expected[3, targets.labels[0, 0]] = True
    assert torch.equal(touched, expected)


def test_a_plain_loop_on_whole_masks() -> None:
    # full masks: every target is 1, so the loss is the mean of log(1 + exp(-logit))
    logits, rois, targets, assignment = scene([[0, 1]], side=2)
    targets = Targets(
        torch.tensor([[[0.0, 0.0, 24.0, 20.0]] * 3]),
        targets.labels,
        targets.ignore,
        targets.valid,
        targets.region,
        torch.ones(3, 20, 24, dtype=torch.uint8),
        targets.mask_row,
    )
    rois = Candidates(torch.tensor([[[4.0, 4.0, 8.0, 8.0], [2.0, 3.0, 9.0, 12.0]]]), rois.valid)
    total = 0.0
    for region in range(2):
        for value in logits[0, region, int(targets.labels[0, region])].flatten().tolist():
            total += math.log(1 + math.exp(-value))
    assert float(term(logits, rois, targets, assignment).detach()) == pytest.approx(total / 8, rel=1e-6)
    assert float(MaskBce(weight=2.5)(logits, rois, targets, assignment)["mask"].detach()) == pytest.approx(
        2.5 * total / 8, rel=1e-6
    )


@BOTH_WAYS
def test_a_box_without_mask_is_left_out(eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: eager)
    logits, rois, targets, assignment = scene([[0, 1, 2]])
    assert targets.mask_row is not None
    partly = Targets(
        targets.boxes,
        targets.labels,
        targets.ignore,
        targets.valid,
        targets.region,
        targets.masks,
        torch.tensor([[0, -1, 2]]),
    )
    found = term(logits, rois, partly, assignment)
    expected = term(logits, rois, targets, Assignment(torch.tensor([[0, B, 2]])))
    torch.testing.assert_close(found, expected)


def test_one_mask_for_all_classes_is_trained_by_each() -> None:
    logits, rois, targets, assignment = scene([[0, 1, 2]], classes=1)
    value = term(logits, rois, targets, assignment)
    value.backward()  # type: ignore[no-untyped-call]
    grad = logits.grad
    assert grad is not None
    assert bool((grad.abs().sum((2, 3, 4)) > 0).all())


@BOTH_WAYS
def test_gradients_are_those_of_finite_differences(eager: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: eager)
    logits, rois, targets, assignment = scene([[0, B, 2]], side=3, dtype=torch.float64)

    def loss(logits: Tensor) -> Tensor:
        return term(logits, rois, targets, assignment)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_targets_without_masks_are_refused() -> None:
    logits, rois, targets, assignment = scene([[0, 1, 2]])
    bare = Targets(targets.boxes, targets.labels, targets.ignore, targets.valid, targets.region)
    with pytest.raises(DataError) as caught:
        MaskBce()(logits, rois, bare, assignment)
    assert str(caught.value) == (
        "mask_bce got targets without masks: a mask head is trained on data with masks (COCO `segmentation`, or a "
        "folder of mask images); make the targets with masks, or train a recipe without `mask`"
    )
