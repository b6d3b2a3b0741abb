"""CaffeNet and ZF by plain functions, and the normalisation by plain loops."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.backbones.caffe import CaffeNet, LrnWithinChannel, Zf5
from detzoo.components.backbones.vgg import Vgg16
from detzoo.errors import RecipeError, WeightsError
from detzoo.weights.backbone import load_backbone_weights
from detzoo.weights.normalisation import CAFFE, IMAGENET, check_normalisation


def lrn_across(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """Caffe's formula: x / (1 + alpha / n sum over n neighbouring channels of x^2)^beta."""
    out = torch.empty_like(x)
    for channel in range(x.shape[1]):
        around = x[:, max(0, channel - size // 2) : channel + size // 2 + 1]
        out[:, channel] = x[:, channel] / (1 + alpha / size * (around**2).sum(1)) ** beta
    return out


def pool(x: Tensor, padding: int) -> Tensor:
    """Caffe's 3x3 pooling of stride 2: the number of windows rounds up, windows are cut at the border."""
    height, width = x.shape[-2:]
    sizes = []
    for n in (height, width):
        windows = -((n + 2 * padding - 3) // -2) + 1
        if padding and (windows - 1) * 2 >= n + padding:
            windows -= 1
        sizes.append(windows)
    rows = []
    for i in range(sizes[0]):
        top = i * 2 - padding
        row = []
        for j in range(sizes[1]):
            left = j * 2 - padding
            row.append(x[:, :, max(0, top) : top + 3, max(0, left) : left + 3].amax((2, 3)))
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


def grouped(x: Tensor, layer: Any, padding: int) -> Tensor:
    """A convolution of two groups as two convolutions of half the channels."""
    halves = zip(x.chunk(2, 1), layer.weight.chunk(2), layer.bias.chunk(2), strict=True)
    return torch.cat([F.conv2d(a, w, b, padding=padding) for a, w, b in halves], 1)


@pytest.mark.parametrize("padded", [False, True])
def test_caffenet_by_its_prototxt(padded: bool) -> None:
    torch.manual_seed(0)
    backbone = CaffeNet(levels=("s4", "s8", "s16", "s32"), padded=padded).eval()
    layer = dict(backbone.body.named_children())
    x = pixels = torch.randn(1, 3, 67, 99) * 60
    side = int(padded)
    expected: dict[str, Tensor] = {}
    with torch.no_grad():
        x = expected["s4"] = F.relu(F.conv2d(x, layer["conv1"].weight, layer["conv1"].bias, 4, 5 * side))  # type: ignore[arg-type]
        x = lrn_across(pool(x, side), 5, 1e-4, 0.75)
        x = expected["s8"] = F.relu(grouped(x, layer["conv2"], 2))
        x = lrn_across(pool(x, side), 5, 1e-4, 0.75)
        x = F.relu(F.conv2d(x, layer["conv3"].weight, layer["conv3"].bias, padding=1))  # type: ignore[arg-type]
        x = F.relu(grouped(x, layer["conv4"], 1))
        x = expected["s16"] = F.relu(grouped(x, layer["conv5"], 1))
        expected["s32"] = pool(x, 0)
        found = backbone(pixels)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-3)


def test_caffenets_sizes() -> None:
    # the published network on 227 px: 55, 27, 13, 6; the classifier's first layer takes 256 x 6 x 6
    published = CaffeNet((227, 227), levels=("s4", "s8", "s16", "s32"), padded=False)
    assert [s.size for s in published.out.values()] == [(55, 55), (27, 27), (13, 13), (6, 6)]
    # Fast R-CNN's copy on 600 x 1000 px: conv1 gives 150 x 250, each pooling ceil((n - 1) / 2) + 1
    padded = CaffeNet((600, 1000), levels=("s16",))
    assert padded.out["s16"].size == (39, 64)


def test_zf_by_its_prototxt() -> None:
    torch.manual_seed(0)
    backbone = Zf5(levels=("s2", "s4", "s8", "s16")).eval()
    weights = {name: (m.weight, m.bias) for name, m in backbone.body.named_children() if isinstance(m, nn.Conv2d)}
    assert [(n, *w.shape) for n, (w, _) in weights.items()] == [
        ("conv1", 96, 3, 7, 7),
        ("conv2", 256, 96, 5, 5),
        ("conv3", 384, 256, 3, 3),
        ("conv4", 384, 384, 3, 3),
        ("conv5", 256, 384, 3, 3),
    ]
    x = pixels = torch.randn(1, 3, 51, 74) * 60
    expected: dict[str, Tensor] = {}
    with torch.no_grad():
        x = expected["s2"] = F.relu(F.conv2d(x, *weights["conv1"], stride=2, padding=3))
        x = expected["s4"] = pool(within_by_loop(x, 3, 5e-5, 0.75), 1)
        x = expected["s8"] = F.relu(F.conv2d(x, *weights["conv2"], stride=2, padding=2))
        x = pool(within_by_loop(x, 3, 5e-5, 0.75), 1)
        for name in ("conv3", "conv4", "conv5"):
            x = F.relu(F.conv2d(x, *weights[name], padding=1))
        expected["s16"] = x
        found = backbone(pixels)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-3)
    # 600 x 1000 px: the map of py-faster-rcnn's demo
    assert Zf5((600, 1000), levels=("s16",)).out["s16"].size == (39, 64)


def within_by_loop(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """Each cell by the mean of squares of its window, cells outside the map counting as zeros."""
    padded = F.pad(x**2, [size // 2] * 4)
    energy = torch.zeros_like(x)
    for i in range(size):
        for j in range(size):
            energy += padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
    return x / (1 + alpha / size**2 * energy) ** beta


def test_lrn_within_a_channel_by_hand() -> None:
    layer = LrnWithinChannel(3, alpha=9.0, beta=0.5)
    # the middle cell sees 1 + 4 + 4 = 9 in its window of 9 cells: 1 / sqrt(1 + 9 x 9 / 9); the corner only 1 + 4
    x = torch.tensor([[[[2.0, 0, 0], [0, 1, 0], [0, 0, 2]]]])
    found = layer(x)
    assert found[0, 0, 1, 1].item() == pytest.approx(1 / 10**0.5)
    assert found[0, 0, 0, 0].item() == pytest.approx(2 / 6**0.5)
    double = torch.rand(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (double,))


@pytest.mark.parametrize(
    ("backbone", "dropped"),
    [(CaffeNet(), {"fc6.weight", "fc6.bias", "fc8.weight"}), (Zf5(), {"fc6.weight", "fc6.bias", "fc8.weight"})],
)
def test_caffes_names_load_and_the_classifier_is_accounted_for(
    backbone: CaffeNet | Zf5, dropped: set[str], tmp_path: Path
) -> None:
    state = {k.removeprefix("body."): torch.randn_like(v) for k, v in backbone.state_dict().items()}
    save_file(state | {k: torch.zeros(2) for k in dropped}, tmp_path / "net.safetensors")
    loaded = load_backbone_weights(backbone, tmp_path / "net.safetensors")
    assert (loaded.loaded, set(loaded.dropped), loaded.expects) == (10, dropped, CAFFE)
    assert torch.equal(backbone.body.get_parameter("conv5.weight"), state["conv5.weight"])
    save_file({k: v for k, v in state.items() if k != "conv3.bias"}, tmp_path / "part.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: body.conv3.bias"):
        load_backbone_weights(backbone, tmp_path / "part.safetensors")


def test_normalisation_belongs_to_the_weights() -> None:
    rcnn = {"mean": (102.9801, 115.9465, 122.7717), "std": (1.0, 1.0, 1.0), "pixel_range": 255, "weights": "net"}
    for caffe in (CaffeNet(), Zf5(), Vgg16(weights_from="caffe")):
        check_normalisation(caffe.expects, channels="bgr", **rcnn)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"expected: channels: bgr, mean: \[104, 117, 123\]"):
        check_normalisation(CaffeNet.expects, channels="rgb", **rcnn)  # type: ignore[arg-type]
    assert Vgg16().expects == IMAGENET
    with pytest.raises(RecipeError, match=r"expected: channels: rgb, mean: \[0.485, 0.456, 0.406\]"):
        check_normalisation(Vgg16().expects, channels="bgr", **rcnn)  # type: ignore[arg-type]
