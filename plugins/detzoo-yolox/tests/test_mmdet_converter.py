"""OpenMMLab's names of YOLOX-S and Nano, written from the modules of mmdetection 3.3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import detzoo
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector

Shapes = Iterator[tuple[str, tuple[int, ...]]]
SIZES = {"yolox_s_coco": (32, False), "yolox_nano_coco": (16, True)}
"""Channels of the stem, and whether 3x3 convolutions are depthwise separable."""
TENSORS = {"yolox_s_coco": 462, "yolox_nano_coco": 642}
"""As mmdetection's own models have (``benchmarks/yolox_against_mmdet.py``)."""


def module(name: str, inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> Shapes:
    """mmcv's ``ConvModule``."""
    yield f"{name}.conv.weight", (outputs, inputs // groups, kernel, kernel)
    yield from ((f"{name}.bn.{part}", (outputs,)) for part in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.bn.num_batches_tracked", ()


def spatial(name: str, inputs: int, outputs: int, *, separable: bool) -> Shapes:
    """``ConvModule``, or ``DepthwiseSeparableConvModule`` with ``use_depthwise``."""
    if separable:
        yield from module(f"{name}.depthwise_conv", inputs, inputs, 3, inputs)
        yield from module(f"{name}.pointwise_conv", inputs, outputs)
    else:
        yield from module(name, inputs, outputs, 3)


def csp(name: str, inputs: int, outputs: int, blocks: int, *, separable: bool) -> Shapes:
    """``CSPLayer`` of ``DarknetBottleneck``."""
    half = outputs // 2
    yield from module(f"{name}.main_conv", inputs, half)
    yield from module(f"{name}.short_conv", inputs, half)
    yield from module(f"{name}.final_conv", 2 * half, outputs)
    for block in range(blocks):
        yield from module(f"{name}.blocks.{block}.conv1", half, half)
        yield from spatial(f"{name}.blocks.{block}.conv2", half, half, separable=separable)


def theirs(stem: int, *, separable: bool) -> Shapes:
    """``YOLOX``: ``CSPDarknet``, ``YOLOXPAFPN``, ``YOLOXHead``."""
    yield from module("backbone.stem.conv", 12, stem, 3)
    for stage, blocks in ((1, 1), (2, 3), (3, 3), (4, 1)):
        width = stem * 2**stage
        yield from spatial(f"backbone.stage{stage}.0", width // 2, width, separable=separable)
        if stage == 4:
            yield from module("backbone.stage4.1.conv1", width, width // 2)
            yield from module("backbone.stage4.1.conv2", 2 * width, width)
        yield from csp(f"backbone.stage{stage}.{2 if stage == 4 else 1}", width, width, blocks, separable=separable)
    fine, middle, coarse = 4 * stem, 8 * stem, 16 * stem
    for row, (above, below) in enumerate([(coarse, middle), (middle, fine)]):
        yield from module(f"neck.reduce_layers.{row}", above, below)
        yield from csp(f"neck.top_down_blocks.{row}", 2 * below, below, 1, separable=separable)
    for row, (below, above) in enumerate([(fine, middle), (middle, coarse)]):
        yield from spatial(f"neck.downsamples.{row}", below, below, separable=separable)
        yield from csp(f"neck.bottom_up_blocks.{row}", 2 * below, above, 1, separable=separable)
    for level, width in enumerate([fine, middle, coarse]):
        yield from module(f"neck.out_convs.{level}", width, fine)
        for branch in ("cls_convs", "reg_convs"):
            for row in (0, 1):
                name = f"bbox_head.multi_level_{branch}.{level}.{row}"
                yield from spatial(name, fine, fine, separable=separable)
        for part, outputs in (("cls", 80), ("reg", 4), ("obj", 1)):
            yield f"bbox_head.multi_level_conv_{part}.{level}.weight", (outputs, fine, 1, 1)
            yield f"bbox_head.multi_level_conv_{part}.{level}.bias", (outputs,)


def drawn(name: str) -> dict[str, Tensor]:
    stem, separable = SIZES[name]
    draw = torch.Generator().manual_seed(0)
    shapes = dict(theirs(stem, separable=separable))
    return {
        key: torch.rand(shape, generator=draw) if shape else torch.tensor(row)
        for row, (key, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("name", SIZES)
def test_every_tensor_arrives_once(name: str, tmp_path: Path) -> None:
    state, path = drawn(name), tmp_path / "published.pth"
    assert len(state) == TENSORS[name]
    torch.save({"meta": {"epoch": 300}, "state_dict": state}, path)
    detector = detzoo.build(name, weights=None)
    detzoo.convert_weights(detector, path, source="mmdet")
    own = detector.state_dict()
    assert len(own) == len(state)
    sums = [float(value.double().sum()) for value in state.values()]
    assert sorted(float(value.double().sum()) for value in own.values()) == pytest.approx(sorted(sums))
    between = ".1" if name == "yolox_nano_coco" else ""
    inside = ".pointwise_conv" if between else ""
    block = "backbone.stage2.1.blocks.2.conv2"
    for ours, other in {
        "backbone.body.dark2.1.short.0.weight": "backbone.stage1.1.short_conv.conv.weight",
        f"backbone.body.dark3.1.blocks.2.second{between}.0.weight": f"{block}{inside}.conv.weight",
        "backbone.body.dark5.1.merge.1.running_var": "backbone.stage4.1.conv2.bn.running_var",
        "neck.reductions.1.1.bias": "neck.reduce_layers.0.bn.bias",
        "neck.top_down.0.main.0.weight": "neck.top_down_blocks.1.main_conv.conv.weight",
        f"neck.downsamplings.0{between}.0.weight": f"neck.downsamples.0{inside}.conv.weight",
        "neck.bottom_up.1.merge.1.weight": "neck.bottom_up_blocks.1.final_conv.bn.weight",
        "head.stems.2.0.weight": "neck.out_convs.2.conv.weight",
        f"head.class_branches.2.1{between}.0.weight": f"bbox_head.multi_level_cls_convs.2.1{inside}.conv.weight",
        f"head.box_branches.0.0{between}.1.bias": f"bbox_head.multi_level_reg_convs.0.0{inside}.bn.bias",
        "head.classification.1.bias": "bbox_head.multi_level_conv_cls.1.bias",
        "head.regression.1.weight": "bbox_head.multi_level_conv_reg.1.weight",
        "head.objectness.0.bias": "bbox_head.multi_level_conv_obj.0.bias",
    }.items():
        assert torch.equal(own[ours], state[other]), ours


def test_it_is_megvii_s_network_in_other_names() -> None:
    """Where the names of both say the same, their files give the same detector; the stem above all."""
    detectors = []
    for stem, source in (("backbone.stem.conv", "mmdet"), ("backbone.backbone.stem.conv", "yolox")):
        state = drawn("yolox_nano_coco")
        if source == "yolox":
            state = {megvii(key): value for key, value in state.items()}
        assert f"{stem}.conv.weight" in state
        detector = detzoo.build("yolox_nano_coco", weights=None)
        detzoo.convert_weights(detector, state, source=source)
        detectors.append(detector.state_dict())
    first, second = detectors
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def megvii(key: str) -> str:
    """Megvii's name of the same tensor, read off its ``YOLOPAFPN`` and ``YOLOXHead``."""
    for theirs, others in (
        ("backbone.stage4", "backbone.backbone.dark5"),
        ("backbone.stage3", "backbone.backbone.dark4"),
        ("backbone.stage2", "backbone.backbone.dark3"),
        ("backbone.stage1", "backbone.backbone.dark2"),
        ("backbone.stem", "backbone.backbone.stem"),
        ("neck.reduce_layers.0", "backbone.lateral_conv0"),
        ("neck.reduce_layers.1", "backbone.reduce_conv1"),
        ("neck.top_down_blocks.0", "backbone.C3_p4"),
        ("neck.top_down_blocks.1", "backbone.C3_p3"),
        ("neck.downsamples.0", "backbone.bu_conv2"),
        ("neck.downsamples.1", "backbone.bu_conv1"),
        ("neck.bottom_up_blocks.0", "backbone.C3_n3"),
        ("neck.bottom_up_blocks.1", "backbone.C3_n4"),
        ("neck.out_convs", "head.stems"),
        ("bbox_head.multi_level_cls_convs", "head.cls_convs"),
        ("bbox_head.multi_level_reg_convs", "head.reg_convs"),
        ("bbox_head.multi_level_conv_cls", "head.cls_preds"),
        ("bbox_head.multi_level_conv_reg", "head.reg_preds"),
        ("bbox_head.multi_level_conv_obj", "head.obj_preds"),
    ):
        if key.startswith(theirs):
            key = others + key.removeprefix(theirs)
            break
    for theirs, others in (
        ("main_conv", "conv1"),
        ("short_conv", "conv2"),
        ("final_conv", "conv3"),
        (".blocks.", ".m."),
        ("depthwise_conv", "dconv"),
        ("pointwise_conv", "pconv"),
    ):
        key = key.replace(theirs, others)
    return key


@pytest.fixture(scope="module")
def nano() -> Detector:
    return detzoo.build("yolox_nano_coco", weights=None)


def test_what_does_not_fit_is_named(nano: Detector) -> None:
    state = drawn("yolox_nano_coco")
    with pytest.raises(WeightsError, match=r"no rule.*multi_level_conv_ctr"):
        detzoo.convert_weights(nano, state | {"bbox_head.multi_level_conv_ctr.0.bias": torch.zeros(1)}, source="mmdet")
    with pytest.raises(WeightsError, match=r"does not have.*backbone\.body\.dark5\.3"):
        detzoo.convert_weights(nano, state | {"backbone.stage4.3.conv.weight": torch.zeros(1)}, source="mmdet")
    del state["neck.out_convs.1.bn.weight"]
    with pytest.raises(WeightsError, match=r"lacks.*head\.stems\.1\.1\.weight"):
        detzoo.convert_weights(nano, state, source="mmdet")


def test_another_size_is_rejected(nano: Detector) -> None:
    with pytest.raises(WeightsError, match="same architecture"):
        detzoo.convert_weights(nano, drawn("yolox_s_coco"), source="mmdet")
