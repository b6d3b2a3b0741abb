"""YOLOX-S' published names, written from its modules, and the stem in its other form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import detzoo
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def base(name: str, inputs: int, outputs: int, kernel: int = 1) -> Shapes:
    """``BaseConv``."""
    yield f"{name}.conv.weight", (outputs, inputs, kernel, kernel)
    yield from ((f"{name}.bn.{part}", (outputs,)) for part in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.bn.num_batches_tracked", ()


def csp(name: str, inputs: int, outputs: int, blocks: int) -> Shapes:
    """``CSPLayer``."""
    half = outputs // 2
    yield from base(f"{name}.conv1", inputs, half)
    yield from base(f"{name}.conv2", inputs, half)
    yield from base(f"{name}.conv3", 2 * half, outputs)
    for block in range(blocks):
        yield from base(f"{name}.m.{block}.conv1", half, half)
        yield from base(f"{name}.m.{block}.conv2", half, half, 3)


def yolox_s() -> Shapes:
    backbone, pyramid = "backbone.backbone", "backbone"
    yield from base(f"{backbone}.stem.conv", 12, 32, 3)
    for stage, (width, blocks) in enumerate([(64, 1), (128, 3), (256, 3), (512, 1)], 2):
        yield from base(f"{backbone}.dark{stage}.0", width // 2, width, 3)
        yield from csp(f"{backbone}.dark{stage}.{2 if stage == 5 else 1}", width, width, blocks)
    yield from base(f"{backbone}.dark5.1.conv1", 512, 256)
    yield from base(f"{backbone}.dark5.1.conv2", 1024, 512)
    yield from base(f"{pyramid}.lateral_conv0", 512, 256)
    yield from csp(f"{pyramid}.C3_p4", 512, 256, 1)
    yield from base(f"{pyramid}.reduce_conv1", 256, 128)
    yield from csp(f"{pyramid}.C3_p3", 256, 128, 1)
    yield from base(f"{pyramid}.bu_conv2", 128, 128, 3)
    yield from csp(f"{pyramid}.C3_n3", 256, 256, 1)
    yield from base(f"{pyramid}.bu_conv1", 256, 256, 3)
    yield from csp(f"{pyramid}.C3_n4", 512, 512, 1)
    for level, width in enumerate([128, 256, 512]):
        yield from base(f"head.stems.{level}", width, 128)
        for branch in ("cls_convs", "reg_convs"):
            yield from (shape for i in range(2) for shape in base(f"head.{branch}.{level}.{i}", 128, 128, 3))
        for part, outputs in (("cls_preds", 80), ("reg_preds", 4), ("obj_preds", 1)):
            yield f"head.{part}.{level}.weight", (outputs, 128, 1, 1)
            yield f"head.{part}.{level}.bias", (outputs,)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=draw) if shape else torch.tensor(7) for name, shape in dict(yolox_s()).items()
    }


@pytest.fixture
def detector() -> Detector:
    return detzoo.build("yolox_s_coco", weights=None)


def test_every_tensor_arrives_once(detector: Detector, state: dict[str, Tensor]) -> None:
    detzoo.convert_weights(detector, state, source="yolox")
    own = detector.state_dict()
    assert len(own) == len(state)
    by_sum = sorted(float(value.double().sum()) for value in state.values())
    assert sorted(float(value.double().sum()) for value in own.values()) == pytest.approx(by_sum)
    for ours, theirs in {
        "backbone.body.dark3.1.blocks.2.second.0.weight": "backbone.backbone.dark3.1.m.2.conv2.conv.weight",
        "backbone.body.dark5.1.merge.1.running_var": "backbone.backbone.dark5.1.conv2.bn.running_var",
        "neck.downsamplings.0.0.weight": "backbone.bu_conv2.conv.weight",
        "head.class_branches.2.1.0.weight": "head.cls_convs.2.1.conv.weight",
        "head.objectness.1.bias": "head.obj_preds.1.bias",
    }.items():
        assert torch.equal(own[ours], state[theirs]), ours


def test_the_stem_is_focus_and_its_convolution(detector: Detector, state: dict[str, Tensor]) -> None:
    detzoo.convert_weights(detector, state, source="yolox")
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    corners = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
    expected = F.conv2d(torch.cat(corners, 1), state["backbone.backbone.stem.conv.conv.weight"], padding=1)
    found = detector.get_submodule("backbone.body.stem.0")(x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("change", ["missing", "unknown", "another size"])
def test_what_does_not_fit_is_named(detector: Detector, state: dict[str, Tensor], change: str) -> None:
    given = dict(state)
    if change == "missing":
        del given["backbone.bu_conv2.bn.bias"]
    elif change == "unknown":
        given["head.extra.weight"] = torch.zeros(1)
    else:
        given["backbone.bu_conv2.conv.weight"] = torch.zeros(96, 96, 3, 3)
    expected = {"missing": "neck.downsamplings.0.1.bias", "unknown": "head.extra.weight"}
    with pytest.raises(WeightsError, match=expected.get(change, r"neck\.downsamplings\.0\.0\.weight")):
        detzoo.convert_weights(detector, given, source="yolox")
