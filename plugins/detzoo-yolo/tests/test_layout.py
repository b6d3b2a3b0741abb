"""Layouts: what a line means, and what is said of a line that means nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec
from detzoo_yolo.layers import Local, MaxPool, Reorg
from detzoo_yolo.layout import parse_layout
from detzoo_yolo.network import Network


def network(*lines: str, size: tuple[int, int] | None = (32, 32)) -> Network:
    return Network(parse_layout(lines), {"pixels": FeatureSpec(3, 1.0, size)}, norm_eps=1e-6, norm_momentum=0.1)


def test_a_repetition_is_its_lines() -> None:
    block = ["conv 8 1", "conv 3 3 linear", "shortcut -3"]
    written = parse_layout(["conv 3 3", *block, *block])
    assert parse_layout(["conv 3 3", "2 x (conv 8 1, conv 3 3 linear, shortcut -3)"]) == written


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "layers is empty: write at least one, as `conv 16 3`"),
        (
            ["conf 16 3"],
            'layers: entry 1, "conf 16 3": a layer is one of conv, max, up, avg, drop, reorg, route, shortcut, local, '
            'fc, optionally followed by `-> name`; did you mean "conv"?',
        ),
        (["conv 16"], 'layers: entry 1, "conv 16": it needs filters and size, as conv 64 3 or conv 64 3/2'),
        (
            ["conv 16 3 gelu"],
            'layers: entry 1, "conv 16 3 gelu": "gelu" is not understood; known are bias, groups=N, pad=N, leaky, '
            "linear, relu, relu6, logistic, mish, swish",
        ),
        (["conv 16 3 groups=3"], 'layers: entry 1, "conv 16 3 groups=3": 16 filters cannot be cut into 3 groups'),
        (["max 2/0"], 'layers: entry 1, "max 2/0": max needs its size and stride, as max 2/2'),
        (["conv 8 3", "drop 1"], 'layers: entry 2, "drop 1": drop needs a probability below 1, as drop 0.5'),
        (["route 4"], 'layers: entry 1, "route 4": "4" is no layer: count back, as route -1 -4, or give a name'),
        (
            ["2 x (conv 8 3, conv 8 3 -> s1)"],
            'layers: entry 1, "2 x (conv 8 3, conv 8 3 -> s1)": a map with a name cannot be repeated; '
            "write its layer out",
        ),
    ],
)
def test_a_line_that_is_not_understood(lines: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_layout(lines)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["conv 8 3"], "layers: no map leaves the network; end the last layer with `-> s32`, say"),
        (["conv 8 3", "route -3 -> s1"], 'layers: layer 1, "route -3 -> s1": -3 points before the first layer'),
        (
            ["conv 8 3 -> a", "route b -> c"],
            'layers: layer 1, "route b -> c": there is no map "b" before it; there are: pixels, a',
        ),
        (
            ["conv 8 3", "conv 8 3/2", "route -1 -2 -> s2"],
            'layers: layer 2, "route -1 -2 -> s2": the maps it joins differ: 8 channels (16x16 cells, stride 2) and '
            "8 channels (32x32 cells, stride 1)",
        ),
        (  # 32 px become 11, and three times 11 are 33
            ["conv 8 3", "conv 8 3/3", "up 3", "route -1 -3 -> s1"],
            'layers: layer 3, "route -1 -3 -> s1": the maps it joins differ: 8 channels (33x33 cells, stride 1) and '
            "8 channels (32x32 cells, stride 1); the sides of input.size must be multiples of the coarsest stride, "
            "as 32",
        ),
        (
            ["conv 8 3", "conv 4 3", "shortcut -2 -> s1"],
            'layers: layer 2, "shortcut -2 -> s1": the maps it joins differ: 4 channels (32x32 cells, stride 1) and '
            "8 channels (32x32 cells, stride 1)",
        ),
        (
            ["conv 6 3", "reorg 2 -> s2"],
            'layers: layer 1, "reorg 2 -> s2": 6 channels or the map\'s sides are no multiple of what it regroups',
        ),
    ],
)
def test_shapes_that_do_not_fit(lines: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        network(*lines)
    assert str(error.value) == message


def test_a_connected_layer_needs_an_image_of_fixed_size() -> None:
    with pytest.raises(RecipeError) as error:
        network("fc 8 -> vector", size=None)
    assert str(error.value) == (
        'layers: layer 0, "fc 8 -> vector": its weights depend on the size of the image, which is not fixed; '
        "set input.size"
    )


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (2, 1), (3, 1), (3, 2), (5, 1), (4, 2)])
@pytest.mark.parametrize("side", [6, 7])
def test_max_pooling_window_by_window(size: int, stride: int, side: int) -> None:
    x = torch.randn(1, 2, side, side, generator=torch.Generator().manual_seed(size))
    cells, left = (side - 1) // stride + 1, (size - 1) // 2
    expected = torch.empty(1, 2, cells, cells)
    for row in range(cells):
        for column in range(cells):
            top, first = row * stride - left, column * stride - left
            window = x[:, :, max(0, top) : top + size, max(0, first) : first + size]
            expected[:, :, row, column] = window.amax((2, 3))
    assert torch.equal(MaxPool(size, stride)(x), expected)


def test_reorg_is_darknets_loop() -> None:
    stride, channels, height, width = 2, 4, 4, 6
    x = torch.arange(channels * height * width, dtype=torch.float32)
    expected = torch.empty_like(x)
    for k in range(channels):  # blas.c: channel k of the output reads neighbour k // (C / s²) of channel k % (C / s²)
        for j in range(height):
            for i in range(width):
                neighbour, own = divmod(k, channels // stride**2)
                wide, tall = i * stride + neighbour % stride, j * stride + neighbour // stride
                source = wide + width * stride * (tall + height * stride * own)
                expected[i + width * (j + height * k)] = x[source]
    found = Reorg(stride)(x.view(1, channels, height, width))
    assert found.shape == (1, 16, 2, 3)
    assert torch.equal(found.flatten(), expected)
    assert not torch.equal(found, F.pixel_unshuffle(x.view(1, channels, height, width), stride))


def test_a_local_layer_is_one_filter_a_cell() -> None:
    torch.manual_seed(0)
    layer = Local(2, 3, size=3, stride=1, pad=1, cells=(4, 5))
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 4, 5)
    padded = F.pad(x, (1, 1, 1, 1))
    expected = torch.empty(2, 3, 4, 5)
    for row in range(4):
        for column in range(5):
            window = padded[:, :, row : row + 3, column : column + 3].flatten(1)
            expected[:, :, row, column] = window @ layer.weight[row * 5 + column].T + layer.bias[:, row, column]
    torch.testing.assert_close(layer(x), expected)


def test_a_map_is_kept_until_it_is_read() -> None:
    made = network("conv 4 3/2", "conv 4 3", "conv 4 3 linear", "shortcut -3", "route -2 -4 -> s2").eval()
    x = torch.randn(1, 3, 32, 32)
    first = made.layers[0](x)
    second = made.layers[1](first)
    third = made.layers[2](second)
    assert torch.equal(made({"pixels": x})["s2"], torch.cat([third, first], 1))
    assert [step.done for step in made.steps] == [("pixels",), (), (1,), (3,), (0, 2, 4)]
    assert second.shape == third.shape
