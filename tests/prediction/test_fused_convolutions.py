"""A fused convolution is the convolution and its activation, wherever it runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import detzoo
from detzoo.benchmark.cost import count_flops
from detzoo.prediction.apply_switches import apply_switches, example_batch
from detzoo.prediction.fold_batch_norm import conv_pairs
from detzoo.prediction.fused_convolutions import FusedConv2d, can_be_fused, fuse, is_activation, supported
from detzoo.runtime.switches import Switches

pytestmark = pytest.mark.skipif(not supported(), reason="this PyTorch has no oneDNN")
ACTIVATIONS = (None, nn.SiLU(inplace=True), nn.ReLU(), nn.ReLU6(inplace=True), nn.Hardswish())


def plainly(conv: nn.Conv2d, activation: nn.Module | None, x: Tensor) -> Tensor:
    made: Tensor = conv(x)
    return made if activation is None else activation(made)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(3, 4, 1, bias=False),
        nn.Conv2d(3, 6, 3, stride=2, padding=(0, 2), dilation=2, groups=3),
        nn.Conv2d(3, 3, (5, 1), groups=3),
    ],
    ids=["3x3", "no bias", "strided, dilated, grouped", "depthwise"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_two_of_them(conv: nn.Conv2d, activation: nn.Module | None, layout: torch.memory_format) -> None:
    x = (3 * torch.randn(2, 3, 13, 17)).to(memory_format=layout)
    fused = FusedConv2d(conv, activation)
    with torch.no_grad():
        assert fused.fits(x)
        torch.testing.assert_close(fused(x), plainly(conv, activation, x), rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), plainly(conv, activation, x), rtol=1e-5, atol=1e-5)


def test_no_image_gives_no_map() -> None:
    fused = FusedConv2d(nn.Conv2d(3, 4, 3), nn.ReLU())
    with torch.no_grad():
        assert fused(torch.zeros(0, 3, 8, 8)).shape == (0, 4, 6, 6)


def test_where_the_operator_does_not_fit_it_is_plain() -> None:
    conv, activation, x = nn.Conv2d(3, 4, 3), nn.SiLU(), torch.randn(1, 3, 8, 8)
    fused = FusedConv2d(conv, activation)
    fused(x).sum().backward()
    assert conv.weight.grad is not None
    with torch.no_grad():
        expected = plainly(conv, activation, x)
        with torch.autocast("cpu", torch.bfloat16):
            assert fused(x).dtype is torch.bfloat16
        torch.testing.assert_close(copy.deepcopy(fused).double()(x.double()), expected.double(), rtol=0, atol=1e-6)


def test_it_sees_its_weight_change() -> None:
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    fused = FusedConv2d(conv, None)
    with torch.no_grad():
        before = fused(x)
        fused.weight += 1
        torch.testing.assert_close(fused(x), conv(x), rtol=1e-5, atol=1e-5)
        fused.load_state_dict({"weight": torch.zeros_like(conv.weight), "bias": torch.ones(4)})
        assert bool((fused(x) == 1).all())
        assert not torch.equal(before, fused(x))
        copied = copy.deepcopy(fused)
        torch.testing.assert_close(copied(x), fused(x))


def test_only_plain_convolutions_are_fused() -> None:
    class Halved(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

    assert can_be_fused(nn.Conv2d(3, 3, 3))
    assert not can_be_fused(Halved(3, 3, 3))
    assert not can_be_fused(nn.Conv2d(3, 3, 3, padding="same"))
    assert not can_be_fused(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"))
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Sequential(Halved(3, 3, 1), nn.ReLU()))
    fuse(net, {net[0]: net[1]})
    assert [type(one).__name__ for one in net] == ["FusedConv2d", "Identity", "Sequential"]
    assert type(net[2][0]) is Halved  # type: ignore[index]


class Readers(nn.Module):
    """Convolutions whose outputs are read in six ways."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.twice, self.shared, self.also_shared, self.passed = (nn.Conv2d(3, 3, 1) for _ in range(5))
        self.silu, self.relu, self.pool, self.common = nn.SiLU(inplace=True), nn.ReLU(), nn.MaxPool2d(1), nn.ReLU()
        self.nothing, self.last = nn.Identity(), nn.Hardswish()
        self.tower, self.of_tower = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)

    def detect(self, x: Tensor) -> Tensor:
        x = self.pool(self.silu(self.own(x)))  # in place: what the pool reads is no convolution's output
        raw = self.twice(x)
        x = self.relu(raw) + self.pool(raw)
        x = self.common(self.shared(x)) + self.common(self.also_shared(x))
        for _ in range(3):  # as a head does on each map
            x = self.of_tower(self.tower(x))
        out: Tensor = self.last(self.nothing(self.passed(x)))
        return out


def test_only_what_one_activation_alone_reads_is_fused_with_it() -> None:
    net = Readers()
    pairs = conv_pairs(net, torch.randn(1, 3, 4, 4), is_activation)  # type: ignore[arg-type]  # all that is asked of it
    assert pairs == [(net.own, net.silu), (net.tower, net.of_tower), (net.passed, net.last)]


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "yolox_nano_coco", "fcos_mobilenet_v2"])
def test_a_folded_detector_detects_the_same_and_costs_the_same(name: str) -> None:
    torch.manual_seed(0)
    plain = detzoo.build(name, num_classes=3, overrides={"input.size": [96, 128]}, weights=None).eval()
    folded = copy.deepcopy(plain)
    apply_switches(folded, Switches(fold=True, channels_last=True))
    assert any(isinstance(one, FusedConv2d) for one in folded.modules())
    batch = example_batch(plain)
    with torch.inference_mode():
        (_, expected), (_, found) = plain.network(batch), folded.network(batch)
        torch.testing.assert_close(found.class_logits, expected.class_logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.deltas, expected.deltas, rtol=1e-4, atol=1e-4)
        assert count_flops(lambda: folded.network(batch)) == count_flops(lambda: plain.network(batch))
