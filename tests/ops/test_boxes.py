"""Areas and overlaps against numbers that a reader can check, and against torchvision."""

import pytest
import torch
from torchvision.ops import box_iou, complete_box_iou_loss, generalized_box_iou_loss

from detzoo.ops.boxes import (
    area,
    ciou,
    clip,
    cxcywh_to_xyxy,
    giou,
    intersection_matrix,
    iou,
    iou_matrix,
    xyxy_to_cxcywh,
)


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 80
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * 60], dim=-1)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_no_boxes_have_an_empty_matrix(n: int, m: int) -> None:
    assert iou_matrix(torch.zeros(2, n, 4), torch.zeros(1, m, 4)).shape == (2, n, m)


def test_empty_boxes_overlap_nothing_and_give_no_nan() -> None:
    empty = torch.zeros(1, 4)
    assert iou_matrix(empty, empty).item() == 0
    assert iou(empty, empty).item() == 0


def test_iou_of_two_boxes_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 2, 6, 6]])
    assert intersection_matrix(a, b).item() == 4
    assert iou_matrix(a, b).item() == pytest.approx(4 / 28)  # 16 + 16 - 4
    assert giou(a, b, eps=0).item() == pytest.approx(4 / 28 - (36 - 28) / 36)  # the hull is 6 x 6
    # centres (2,2) and (4,4): distance² 8, diagonal² 72, equal aspect ratios
    assert ciou(a, b, eps=0).item() == pytest.approx(4 / 28 - 8 / 72)


@pytest.mark.parametrize(("plus_one", "expected"), [(False, 2 / 6), (True, 6 / 14)])
def test_plus_one_widths(plus_one: bool, expected: float) -> None:
    # 4 x 1 boxes share 2 x 1; with both edge pixels 5 x 2 boxes share 3 x 2
    a, b = torch.tensor([[0.0, 0, 4, 1]]), torch.tensor([[2.0, 0, 6, 1]])
    value = iou_matrix(a, b, plus_one=plus_one).item()
    assert value == pytest.approx(expected)
    assert area(a, plus_one=plus_one).item() == (10 if plus_one else 4)


def test_matrices_and_pairs_agree_with_torchvision() -> None:
    a, b = random_boxes(3, 20), random_boxes(3, 17, seed=1)
    expected = torch.stack([box_iou(x, y) for x, y in zip(a, b, strict=True)])
    assert torch.equal(iou_matrix(a, b), expected)
    pairs, others = a[:, :17].double(), b.double()
    torch.testing.assert_close(1 - giou(pairs, others), generalized_box_iou_loss(pairs, others))
    torch.testing.assert_close(1 - ciou(pairs, others), complete_box_iou_loss(pairs, others))


def test_gradients_of_the_overlaps() -> None:
    a = random_boxes(5).double().requires_grad_()
    b = random_boxes(5, seed=1).double()
    for function in (iou, giou):
        assert torch.autograd.gradcheck(lambda x, f=function: f(x, b), a)
    assert torch.autograd.gradcheck(lambda x: iou_matrix(x, b), a)


def test_ciou_has_torchvisions_gradient() -> None:
    # the weight of the aspect ratio carries none, so differences of values would not show it
    a, b = random_boxes(9).double().requires_grad_(), random_boxes(9, seed=1).double()
    ours = torch.autograd.grad((1 - ciou(a, b)).sum(), a)
    torch.testing.assert_close(ours, torch.autograd.grad(complete_box_iou_loss(a, b, reduction="sum"), a))


def test_clip_and_conversions() -> None:
    boxes = torch.tensor([[[-5.0, 2, 9, 30]]])
    assert clip(boxes, torch.tensor([[[1.0, 3, 8, 20]]])).tolist() == [[[1, 3, 8, 20]]]
    assert xyxy_to_cxcywh(boxes).tolist() == [[[2, 16, 14, 28]]]
    assert torch.equal(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)
