"""Box coders: inverse of themselves, equal to torchvision's, and as Caffe and Detectron wrote them."""

import math
from typing import Literal

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder

from detzoo.components.box_coders import Bins, CentreSize, Edges
from detzoo.errors import RecipeError

BOX = torch.tensor([10.0, 20, 30, 60])  # centre (20, 40), 20 x 40
TRUTH = torch.tensor([15.0, 20, 35, 40])  # centre (25, 30), 20 x 20
ONE = torch.ones(())


def test_no_boxes() -> None:
    coder = CentreSize()
    assert coder.encode(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0)).shape == (0, 4)
    assert coder.decode(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0)).shape == (0, 4)


def test_variances_are_inverse_weights() -> None:
    expected = torch.tensor([5 / 20 / 0.1, -10 / 40 / 0.1, 0, math.log(20 / 40) / 0.2])
    torch.testing.assert_close(CentreSize(variances=(0.1, 0.1, 0.2, 0.2)).encode(TRUTH, BOX, ONE), expected)
    torch.testing.assert_close(CentreSize(weights=(10.0, 10.0, 5.0, 5.0)).encode(TRUTH, BOX, ONE), expected)
    with pytest.raises(RecipeError) as error:
        CentreSize(weights=(1.0, 1.0, 1.0, 1.0), variances=(1.0, 1.0, 1.0, 1.0))
    assert str(error.value) == (
        "box_coder centre_size: both weights and variances are given, and they are two ways to write one thing "
        "(weight = 1 / variance); keep one of them"
    )


def test_equals_torchvision_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(100, 2, generator=generator) * 200
    boxes = torch.cat([corner, corner + 1 + torch.rand(100, 2, generator=generator) * 90], dim=1)
    truth, deltas = boxes.flip(0), torch.randn(100, 4, generator=generator) * 20
    theirs, ours = TorchvisionCoder((10.0, 10.0, 5.0, 5.0)), CentreSize()
    assert torch.equal(ours.encode(truth, boxes, ONE), theirs.encode_single(truth, boxes))
    assert torch.equal(ours.decode(deltas, boxes, ONE), theirs.decode_single(deltas, boxes))


@pytest.mark.parametrize("plus_one", [False, True])
def test_decoding_undoes_encoding(plus_one: bool) -> None:
    coder = CentreSize(legacy_plus_one=plus_one)
    deltas = coder.encode(TRUTH, BOX, ONE)
    torch.testing.assert_close(coder.decode(deltas, BOX, ONE), TRUTH)
    width = 21 if plus_one else 20
    assert deltas[0].item() == pytest.approx(10 * 5 / width)


def test_clamp_bounds_the_side() -> None:
    wild = torch.tensor([0.0, 0, 500, 500])
    width = CentreSize().decode(wild, BOX, ONE)[2] - CentreSize().decode(wild, BOX, ONE)[0]
    assert width.item() == pytest.approx(20 * 1000 / 16, rel=1e-5)
    assert CentreSize(clamp=None).decode(wild / 100, BOX, ONE)[2].item() == pytest.approx(
        20 + 10 * math.exp(1), rel=1e-5
    )


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("stride", [5 / 8, 20 / 8, 15 / 8, 0]),
        ("px", [5, 20, 15, 0]),
        ("size", [5 / 20, 20 / 40, 15 / 20, 0]),
    ],
)
def test_edges_by_hand(unit: Literal["stride", "px", "size"], expected: list[float]) -> None:
    coder, stride = Edges(unit=unit), torch.tensor(8.0)
    deltas = coder.encode(TRUTH, BOX, stride)  # from (20, 40) to 15, 20, 35, 40
    assert deltas.tolist() == expected
    assert torch.equal(coder.decode(deltas, BOX, stride), TRUTH)


def test_bins_by_hand() -> None:
    coder, stride = Bins(reg_max=4), torch.tensor(8.0)
    assert coder.bins.tolist() == [0, 1, 2, 3, 4]
    deltas = coder.encode(TRUTH, BOX, stride)  # from (20, 40) to 15, 20, 35, 40
    assert deltas.tolist() == [5 / 8, 20 / 8, 15 / 8, 0]
    assert torch.equal(coder.decode(deltas, BOX, stride), TRUTH)
    # farther than the last bin, and on the wrong side of the centre: GFL's 0.1 below the last, and the first
    far = coder.encode(torch.tensor([30.0, 0, 70, 100]), BOX, stride)
    torch.testing.assert_close(far, torch.tensor([0, 3.9, 3.9, 3.9]))
    ultralytics = Bins(margin=0.01).encode(torch.tensor([-900.0, 0, 70, 100]), BOX, stride)
    assert ultralytics[0].item() == pytest.approx(15.99)
    assert CentreSize().bins is None
    assert Bins().encode(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0)).shape == (0, 4)
    assert Bins().state_dict() == {}


def test_half_precision_is_widened() -> None:
    assert CentreSize().decode(torch.zeros(4, dtype=torch.bfloat16), BOX, ONE).dtype == torch.float32
