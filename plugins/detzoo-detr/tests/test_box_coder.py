"""Fractions of the image, by hand."""

from __future__ import annotations

import torch

from detzoo_detr.box_coder import Fractions

IMAGE = torch.tensor([10.0, 20, 210, 120])  # 200 x 100 px, 10 and 20 px inside the padding
STRIDES = torch.ones(1)


def test_no_boxes() -> None:
    assert Fractions().encode(torch.zeros(0, 4), IMAGE, STRIDES).shape == (0, 4)
    assert Fractions().decode(torch.zeros(0, 4), IMAGE, STRIDES).shape == (0, 4)


def test_a_box_by_hand() -> None:
    box = torch.tensor([[60.0, 30, 160, 80]])  # its middle is (110, 55): 100 and 35 px from the corner
    fractions = Fractions().encode(box, IMAGE, STRIDES)
    assert torch.allclose(fractions, torch.tensor([[0.5, 0.35, 0.5, 0.5]]))
    assert torch.allclose(Fractions().decode(fractions, IMAGE, STRIDES), box)


def test_the_whole_image_is_half_half_one_one() -> None:
    assert Fractions().encode(IMAGE, IMAGE, STRIDES).tolist() == [0.5, 0.5, 1.0, 1.0]
